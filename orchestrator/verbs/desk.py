"""What every verb works at: the profile, the kind of machine, the folders, and who is told about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..ledger import Ledger
from ..providers import open_provider
from ..providers.base import Provider
from ..reporter import Reporter
from ..sandbox import region
from ..settings import Home, Profile
from ..state import StateFile

if TYPE_CHECKING:
    from ..remote.ssh import Connection

# A first boot with cloud-init takes EC2 a minute or two; a machine that is silent for longer is broken.
BOOT_SECONDS = 300.0


@dataclass(frozen=True)
class Desk:
    home: Home
    profile: Profile
    kind: str
    reporter: Reporter
    folder: Path
    """The current folder: `data/` and `runs/` are under it."""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home.state / "unfetched" / self.profile.name)

    @property
    def state_file(self) -> StateFile:
        return StateFile(self.home, self.profile.name, self.reporter.line)

    def provider(self, kind: str | None = None) -> Provider:
        """The profile's machine of `kind`; the sandbox is started when the profile lives in it."""
        endpoint = region.up(self.home.sandbox, self.reporter.line).endpoint_url if self.profile.emulated else None
        return open_provider(
            self.profile, kind=kind or self.kind, home=self.home, endpoint_url=endpoint, say=self.reporter.line
        )

    def connect(self, wait: float = 10.0) -> Connection:
        """A checked connection to the machine, which must be running."""
        # paramiko takes a tenth of a second to load, and most commands open no connection.
        from ..remote.ssh import connect

        return connect(self.provider().address(), wait=wait, say=self.reporter.line)
