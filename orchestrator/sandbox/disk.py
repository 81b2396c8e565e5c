"""One instance's disk: the folder that is its home and, seen from inside, its system (`GPU_ROOT`)."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import standins

_PROFILE = """# Read by every login shell, after the system's own profile has set PATH.
PATH="$GPU_ROOT/bin:$GPU_ROOT/usr/local/bin:$HOME/gpu/env/bin:$PATH"
for part in "$GPU_ROOT"/etc/profile.d/*.sh; do [ -r "$part" ] && . "$part"; done
unset part
export PATH
"""

_HOME_PROFILE = """[ -n "$GPU_ROOT" ] && . "$GPU_ROOT/etc/profile"
[ -n "$BASH_VERSION" ] && [ -r ~/.bashrc ] && . ~/.bashrc
true
"""


@dataclass(frozen=True)
class Disk:
    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def standins(self) -> Path:
        return self.root / "bin"

    @property
    def run(self) -> Path:
        """What lasts from one boot to the next stop: the control FIFO, the entry script."""
        return self.root / "run"

    @property
    def control(self) -> Path:
        return self.run / "control"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def host_key(self) -> Path:
        """Where the machine itself keeps it: it may be replaced from inside."""
        return self.root / "etc/ssh/ssh_host_ed25519_key"

    @property
    def authorized_keys(self) -> Path:
        return self.root / "etc/ssh/authorized_keys"

    @property
    def boot(self) -> Path:
        """What a kernel of its own would tell: the boot's id, the computer's uptime at it, the first process."""
        return self.run / "boot"

    @property
    def units(self) -> Path:
        return self.root / "etc/systemd/system"

    @property
    def wanted_timers(self) -> Path:
        """Links to the timers that start at every boot."""
        return self.units / "timers.target.wants"

    @property
    def cloud(self) -> Path:
        """Where cloud-init keeps what it was told and what it has done."""
        return self.root / "var/lib/cloud"

    @property
    def user_data(self) -> Path:
        return self.cloud / "user-data"

    def make(self, user_data: bytes, public_key: str) -> None:
        """Before the first boot of an instance: an empty home, the host key of the user data (one made here without),
        one key let in. A disk that is the copy of another one keeps its home and what was installed."""
        for folder in (self.home / "gpu", self.run, self.log, self.host_key.parent, self.root / "etc/profile.d"):
            folder.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        standins.install(self.standins)
        (self.root / "etc/profile").write_text(_PROFILE)
        if not (self.home / ".profile").exists():
            (self.home / ".profile").write_text(_HOME_PROFILE)
        self._link_environment()
        self._write_host_key(cloud_config(user_data))
        self.cloud.mkdir(parents=True, exist_ok=True)
        self.user_data.touch(mode=0o600)
        self.user_data.write_bytes(user_data)
        # One line: a second one would let a second key in.
        self.authorized_keys.write_text(" ".join(public_key.split()) + "\n")

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def _link_environment(self) -> None:
        """`~/gpu/env` is the whole environment of this Python; of one without `bin/python`, a folder with just that."""
        link, prefix = self.home / "gpu/env", Path(sys.prefix)
        if link.is_symlink() or link.exists():
            return
        if (prefix / "bin/python").exists():
            link.symlink_to(prefix)
        else:
            (link / "bin").mkdir(parents=True)
            (link / "bin/python").symlink_to(sys.executable)

    def _write_host_key(self, config: dict[str, Any]) -> None:
        keys = config.get("ssh_keys")
        keys = keys if isinstance(keys, dict) else {}
        private, told = keys.get("ed25519_private"), keys.get("ed25519_public")
        public = self.host_key.with_suffix(".pub")
        if not isinstance(private, str):
            if self.host_key.exists():
                return
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self.host_key)]
            subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
            return
        self.host_key.touch(mode=0o600)
        self.host_key.write_text(private.rstrip("\n") + "\n")
        if isinstance(told, str):
            public.write_text(told.strip() + "\n")


def cloud_config(user_data: bytes) -> dict[str, Any]:
    """The `#cloud-config` in user data, gzip or not; empty when there is none or when it is not one."""
    try:
        text = (gzip.decompress(user_data) if user_data[:2] == b"\x1f\x8b" else user_data).decode()
        document = yaml.safe_load(text) if text.startswith("#cloud-config") else None
    except (OSError, EOFError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return document if isinstance(document, dict) else {}


def sftp_server() -> str | None:
    """The system's SFTP server program; distributions disagree about its place."""
    places = ("/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh", "/usr/libexec", "/usr/lib/misc")
    found = [f"{place}/sftp-server" for place in places]
    return next((path for path in found if os.access(path, os.X_OK)), None)
