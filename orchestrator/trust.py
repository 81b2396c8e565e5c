"""What this computer keeps to know one machine by: its host keys, and the known_hosts file made from them.

A new machine's first host key is made here and stands in its user data; the file of that private key is kept until the
machine has made one of its own (`remote/hostkeys.py`). From then on only public keys are kept, one a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import GpuError
from .settings import Home
from .state import write_atomically

_KEY = re.compile(r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[\w@.-]+ [A-Za-z0-9+/]+=*")


@dataclass(frozen=True)
class Trust:
    """The files of the profile's machine of one kind."""

    home: Home
    profile: str
    kind: str

    @property
    def client_key(self) -> Path:
        """The private key that enters the profile's machines."""
        return self.home.keys / self.profile

    @property
    def first(self) -> Path:
        """The private host key made here; absent once the machine has one that never left it."""
        return self.home.keys / f"{self.profile}-{self.kind}-host"

    @property
    def public(self) -> Path:
        return self.home.keys / f"{self.profile}-{self.kind}-host.pub"

    @property
    def known_hosts(self) -> Path:
        return self.home.state / "known_hosts" / f"{self.profile}-{self.kind}"

    def keys(self) -> list[str]:
        """The machine's own public keys, `TYPE BASE64` each; none before it has made one."""
        try:
            text = self.public.read_text("ascii", errors="replace")
            mode = self.public.stat().st_mode & 0o777
        except FileNotFoundError:
            return []
        except OSError as error:
            raise GpuError(f"{self.public} cannot be read: {error.strerror}", "Check its owner and mode") from error
        if mode & 0o022:
            raise GpuError(f"others may write to {self.public}", f"Close it with: chmod 644 {self.public}")
        return [found[0] for line in text.splitlines() if (found := _KEY.match(line))]

    def keep(self, keys: Sequence[str]) -> None:
        """These are the machine's public keys from now on."""
        write_atomically(self.public, "".join(f"{key}\n" for key in keys), mode=0o644)

    def write_known_hosts(self, keys: Sequence[str], *, host: str, port: int) -> None:
        """The lines by which the machine is checked; OpenSSH writes port 22 without brackets."""
        where = host if port == 22 else f"[{host}]:{port}"
        text = "".join(f"{where} {key}\n" for key in keys)
        if not self.known_hosts.exists() or self.known_hosts.read_text(errors="replace") != text:
            write_atomically(self.known_hosts, text, mode=0o600)

    def hand_on(self, kind: str) -> None:
        """The machine is about to be of another kind: what it is known by goes with it, and stays here until then."""
        other = Trust(self.home, self.profile, kind)
        for mine, theirs, mode in ((self.first, other.first, 0o600), (self.public, other.public, 0o644)):
            if mine.exists():
                write_atomically(theirs, mine.read_text(), mode=mode)
            elif self.first.exists() or self.public.exists():
                theirs.unlink(missing_ok=True)

    def forget_first(self) -> None:
        """The machine has a key that nobody else ever had."""
        self.first.unlink(missing_ok=True)

    def forget(self) -> None:
        """The machine is gone: the next one gets a host key of its own. Safe to interrupt and repeat."""
        for file in (self.known_hosts, self.first, self.public):
            file.unlink(missing_ok=True)
