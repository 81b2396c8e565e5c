"""What a profile has in its region and on this computer, and whether it is as it should be. Changes nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import cached_property

from ... import __version__
from ...errors import GpuError
from ...prices import types_of
from ...settings import Home, Profile
from ...state import StateFile
from . import caller, keys
from .ec2 import Ec2
from .images import Images
from .inventory import Inventory, Machine, Tags
from .session import Session, in_words


class Inspection:
    """Each look returns what is good in words, and raises GpuError for what is not."""

    def __init__(self, session: Session, profile: Profile, home: Home, kind: str) -> None:
        self._session = session
        self._profile = profile
        self._home = home
        self._kind = kind

    @property
    def looks(self) -> Mapping[str, Callable[[], str]]:
        return {
            "belonging": self._belonging,
            "image": self._image,
            "machine": self._machine,
            "key pair": self._key_pair,
            "door": self._door,
            "protection": self._protection,
            "spot": self._spot,
        }

    def keys(self) -> str:
        """Of the files on this computer alone."""
        folder = self._home.keys
        files = [file for file in sorted(folder.glob("*")) if file.suffix != ".pub"] if folder.is_dir() else []
        loose = [path for path in (folder, *files) if path.exists() and path.stat().st_mode & 0o077]
        if loose:
            names = ", ".join(path.name for path in loose)
            raise GpuError(
                f"open to others in {folder.parent}: {names}", f"Close them with: chmod -R u=rwX,go= {folder}"
            )
        own = [
            file for file in files if file.name == self._profile.name or file.name.startswith(f"{self._profile.name}-")
        ]
        for file in own:
            keys.public(file)
        return f"{len(own)} of this profile in {folder}, closed to others" if own else "none yet; made with the machine"

    def _belonging(self) -> str:
        said: list[str] = []
        before = StateFile(self._home, self._profile.name, said.append).belonging()
        if said:
            raise GpuError("; ".join(said), "Nothing is lost: the cloud is asked again")
        if before is None:
            return "nothing has been made from this computer yet"
        if (before.owner, before.region) != (self._tags.owner, self._profile.region):
            raise GpuError(
                f"the profile's things belong to {before.owner} in {before.region}, and this is {self._tags.owner} in "
                f"{self._profile.region}",
                "Use those credentials and that region, or give the other account a profile of its own",
            )
        return f"everything is {before.owner}'s in {before.region}"

    def _image(self) -> str:
        choice = Images(self._session, self._ec2, self._profile).choose(types_of(self._kind))
        new = f"a new machine would be a {choice.type} of {self._age(choice.image)}"
        old = self._machines_image
        if old is None or old == choice.image:
            return new
        return f"{new}; this one is of {self._age(old)}"

    @in_words
    def _age(self, image: str) -> str:
        found = self._session.ec2.describe_images(Filters=[{"Name": "image-id", "Values": [image]}])["Images"]
        if not found:
            return f"{image}, which is no longer there (it runs without)"
        made = datetime.fromisoformat(found[0]["CreationDate"].replace("Z", "+00:00"))
        return f"{image}, {(datetime.now(timezone.utc) - made).days} days old"

    def _machine(self) -> str:
        machine = self._inventory.machine(self._kind)
        if machine is None:
            return f"there is no {self._kind} machine; `gpu start` makes it"
        address = self._inventory.address(self._kind)
        if machine.phase == "running" and (address is None or address.machine != machine.id):
            raise GpuError(f"{machine.id} is running without its address", "Give it its address with: gpu start")
        return f"{machine.id} ({machine.type}) is {machine.phase} at {address.ip if address else 'no address'}"

    def _key_pair(self) -> str:
        machine = self._own
        file = keys.client_key(self._home, self._profile.name)
        if machine is None and not file.exists():
            return "made with the machine"
        name = keys.pair_name(self._profile.name, keys.public(file))
        if machine and machine.key_name != name:
            raise GpuError(
                f"{machine.id} was made with another key ({machine.key_name}) than the one in {file}",
                "Copy gpu's keys folder from the computer that made it, or remove it with: gpu destroy",
            )
        if machine and name not in self._inventory.keys:
            raise GpuError(f"the key pair {name} is not in the account", "Import it again with: gpu start")
        return name

    def _door(self) -> str:
        vpc = self._inventory.vpc()
        group = self._inventory.group(vpc.id) if vpc else None
        if group is None:
            return "made with the machine"
        self._refuse_open(group.id)
        endpoint = self._session.ec2.meta.endpoint_url if self._profile.emulated else None
        mine, port = ipaddress.ip_network(caller.address(endpoint)), self._profile.ssh_port
        cidrs = [ipaddress.ip_network(rule.cidr) for rule in group.rules if rule.port == port]
        if not any(mine.version == cidr.version and mine.subnet_of(cidr) for cidr in cidrs):  # type: ignore[arg-type]
            known = ", ".join(str(cidr) for cidr in cidrs) or "nobody"
            raise GpuError(
                f"port {port} is open to {known}, and this computer is {mine} today",
                "The next `gpu ssh` or `gpu start` lets it in",
            )
        return f"port {port} is open to {mine}, this computer"

    @in_words
    def _refuse_open(self, group: str) -> None:
        found = self._session.ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])
        for rule in found["SecurityGroupRules"]:
            if not rule["IsEgress"] and (rule.get("CidrIpv4") == "0.0.0.0/0" or rule.get("CidrIpv6") == "::/0"):
                raise GpuError(
                    f"{group} lets the whole world in, at port {rule.get('FromPort')}",
                    f"Remove the rule {rule['SecurityGroupRuleId']} in the EC2 console",
                )

    def _protection(self) -> str:
        machine = self._own
        if machine is None or machine.spot:
            return "EC2 protects no spot machine from its end" if machine else "made with the machine"
        if not self._ec2.protected(machine.id):
            raise GpuError(
                f"{machine.id} is not protected: anything may terminate it",
                "Protect it with: aws ec2 modify-instance-attribute --disable-api-termination "
                f"--instance-id {machine.id} --region {self._profile.region}",
            )
        return f"only `gpu destroy` terminates {machine.id}"

    def _spot(self) -> str:
        machine, requests = self._own, self._inventory.spot_requests
        known = {m.id for m in self._inventory.machines}
        if loose := [request.id for request in requests if request.machine not in known]:
            raise GpuError(
                f"without a machine, so that EC2 may start one: {', '.join(loose)}", "Cancel it with: gpu destroy"
            )
        if machine is None or not machine.spot:
            return "on demand" if machine else "no request"
        mine = next((request for request in requests if request.id == machine.spot_request), None)
        if mine is None:
            raise GpuError(f"the request behind {machine.id} has ended: once stopped it cannot start", "gpu destroy")
        return f"{mine.id} is {mine.state}"

    @cached_property
    def _tags(self) -> Tags:
        return Tags(self._profile.name, caller.owner(self._session), __version__)

    @cached_property
    def _ec2(self) -> Ec2:
        return Ec2(self._session, self._tags)

    @cached_property
    def _inventory(self) -> Inventory:
        return self._ec2.inventory()

    @property
    def _own(self) -> Machine | None:
        return self._inventory.machine(self._kind)

    @property
    def _machines_image(self) -> str | None:
        return self._image_of(self._own.id) if self._own else None

    @in_words
    def _image_of(self, machine: str) -> str | None:
        found = self._session.ec2.describe_instances(InstanceIds=[machine])["Reservations"]
        return found[0]["Instances"][0]["ImageId"] if found else None
