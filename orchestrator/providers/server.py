"""A host of one's own: a rented server, the university's GPU box, this computer. Entered as `ssh HOST` enters it."""

from __future__ import annotations

from dataclasses import Field, dataclass, fields

from ..errors import GpuError, NotOffered
from ..settings import Profile
from ..sshconfig import effective
from .base import Address, Plan, State, Wish

# What a profile may say of such a machine; the rest is of clouds, and would be ignored.
OURS = ("name", "provider", "kind", "host", "gpu")


def _is_foreign(profile: Profile, setting: Field[object]) -> bool:
    return setting.name not in OURS and getattr(profile, setting.name) != setting.default


@dataclass(frozen=True)
class ServerProvider:
    """Nothing here changes anything: the machine is there already, and it is other people's too."""

    host: str
    kind: str

    @classmethod
    def open(cls, profile: Profile, *, kind: str) -> ServerProvider:
        """GpuError where the profile names no host."""
        if not profile.host or not profile.host.rpartition("@")[2].strip():
            raise GpuError(
                f"the profile {profile.name} does not say which machine it is",
                "Add `host: NAME` to it, with a name that `ssh NAME` knows",
            )
        foreign = [one.name for one in fields(Profile) if _is_foreign(profile, one)]
        if foreign:
            raise GpuError(
                f"the profile {profile.name} sets {' and '.join(foreign)}, which is not for a machine of your own",
                "Take that out; where the machine is and who enters it is said in ~/.ssh/config",
            )
        return cls(profile.host, kind)

    def whose(self) -> str:
        return f"{self.host} is a machine of your own"

    def plan(self, wish: Wish) -> Plan:
        """Always empty; NotOffered for what only a cloud can choose."""
        if wish.instance_type or wish.spot:
            raise NotOffered(f"{self.whose()} and is what it is", "Leave --type and --spot out")
        return Plan(())

    def start(self, plan: Plan) -> Address:
        del plan
        return self.address()

    def stop(self) -> None:
        """Does nothing: it goes on running."""

    def state(self) -> State:
        """Taken to run: whether it does is seen by entering it."""
        return State(self.kind, "running", machine_id=self.host)

    def address(self) -> Address:
        """As the user's SSH configuration says; GpuError where that cannot be used."""
        where = effective(self.host)
        return Address(where.name, where.port, where.user)
