"""What every verb works at: the profile, the kind of machine, the folders, and who is told about it."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GpuError, MachineAbsent, MachineStopped
from ..ledger import Ledger
from ..notebooks import Notebooks
from ..providers.base import Address, Admitting, Provider
from ..reporter import Reporter
from ..settings import Home, Profile
from ..state import Door, StateFile
from ..trust import Trust

if TYPE_CHECKING:
    from ..remote.ssh import Connection

# A first boot with cloud-init takes EC2 a minute or two; a machine that is silent for longer is broken.
BOOT_SECONDS = 300.0
DOOR_SECONDS = 3.0
"""How long a remembered address may be silent before the provider is asked: that of a stopped machine always is."""


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
    def notebooks(self) -> Notebooks:
        return Notebooks(self.home.state / "notebooks" / self.profile.name)

    @property
    def state_file(self) -> StateFile:
        return StateFile(self.home, self.profile.name, self.reporter.line)

    def provider(self, kind: str | None = None) -> Provider:
        """The profile's machine of `kind`; the sandbox is started when the profile lives in it."""
        # Loaded when somebody is to be asked: `gpu ssh` at a known address needs neither.
        from ..providers import open_provider
        from ..sandbox import region

        endpoint = region.up(self.home.sandbox, self.reporter.line).endpoint_url if self.profile.emulated else None
        return open_provider(
            self.profile, kind=kind or self.kind, home=self.home, endpoint_url=endpoint, say=self.reporter.line
        )

    @property
    def trust(self) -> Trust:
        return Trust(self.home, self.profile.name, self.kind)

    def known_address(self) -> Address | None:
        """Where the machine was when the provider last told; None when that was under other settings.

        The keys are never remembered with it but are those of this profile and kind, so that a wrong address leads to
        no machine but ours.
        """
        door = self.state_file.door(self.kind)
        if door is None or door.settings != self._settings():
            return None
        return Address(door.host, door.port, door.user, self.trust.client_key, self.trust.known_hosts)

    def remember(self, address: Address) -> None:
        """What the provider has just told, to be tried first from now on."""
        if (address.key_file, address.known_hosts, address.proxy) == (
            self.trust.client_key,
            self.trust.known_hosts,
            None,
        ):
            self.state_file.remember_door(self.kind, Door(address.host, address.port, address.user, self._settings()))

    def forget_address(self) -> None:
        """The machine has been stopped or removed: nobody answers there."""
        self.state_file.remember_door(self.kind, None)

    def address(self) -> Address:
        """Where the running machine is, from the provider, with its door open to this computer's address of today.

        Raises `MachineAbsent` or `MachineStopped` with the remedy.
        """
        provider = self.provider()
        try:
            address = provider.address()
        except (MachineAbsent, MachineStopped):
            self.forget_address()
            raise
        if isinstance(provider, Admitting):
            self._admit(provider)
        self.remember(address)
        return address

    def _admit(self, provider: Admitting) -> None:
        try:
            provider.admit()
        except GpuError as error:
            # It may be open as it is: entering will tell.
            self.reporter.line(f"whether this computer may come in could not be checked: {error}")

    def connect(self, wait: float = 10.0) -> Connection:
        """A checked connection to the machine, which must be running: at the known address, otherwise where the
        provider says that it is."""
        # paramiko takes a tenth of a second to load, and most commands open no connection.
        from ..remote.ssh import connect

        if known := self.known_address():
            # Nothing has been asked of the machine yet: whatever goes wrong, the provider knows better.
            with contextlib.suppress(GpuError):
                return connect(known, seconds=DOOR_SECONDS)
        return connect(self.address(), wait=wait, say=self.reporter.line)

    def _settings(self) -> str:
        return hashlib.sha256(repr(self.profile).encode()).hexdigest()[:16]
