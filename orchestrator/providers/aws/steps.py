"""Every change to an account that there is, as data: what a plan is made of."""

from __future__ import annotations

from dataclasses import dataclass

NETWORK = "10.0.0.0/28"


@dataclass(frozen=True)
class CreateVpc:
    def sentence(self) -> str:
        return f"create a network (VPC) {NETWORK}"


@dataclass(frozen=True)
class EnableDns:
    def sentence(self) -> str:
        return "switch on DNS host names in it"


@dataclass(frozen=True)
class CreateGateway:
    def sentence(self) -> str:
        return "create an internet gateway"


@dataclass(frozen=True)
class AttachGateway:
    def sentence(self) -> str:
        return "attach the internet gateway to the network"


@dataclass(frozen=True)
class CreateSubnet:
    zone: str

    def sentence(self) -> str:
        return f"create a subnet {NETWORK} in {self.zone}"


@dataclass(frozen=True)
class CreateTable:
    def sentence(self) -> str:
        return "create a route table"


@dataclass(frozen=True)
class AddRoute:
    instead: bool = False
    """Of one that leads to a gateway of the past."""

    def sentence(self) -> str:
        return "route 0.0.0.0/0 through the internet gateway"


@dataclass(frozen=True)
class LinkTable:
    def sentence(self) -> str:
        return "associate the route table with the subnet"


@dataclass(frozen=True)
class CreateGroup:
    def sentence(self) -> str:
        return "create a security group"


@dataclass(frozen=True)
class OpenSsh:
    port: int
    cidr: str

    def sentence(self) -> str:
        return f"open port {self.port} to {self.cidr} alone"


@dataclass(frozen=True)
class CloseSsh:
    rule: str
    port: int
    cidr: str

    def sentence(self) -> str:
        return f"close port {self.port} to {self.cidr}"


@dataclass(frozen=True)
class ImportKey:
    name: str

    def sentence(self) -> str:
        return f"import the public key {self.name}"


@dataclass(frozen=True)
class AllocateAddress:
    def sentence(self) -> str:
        return "allocate an elastic IP"


@dataclass(frozen=True)
class RunInstance:
    kind: str
    type: str
    zone: str
    image: str
    root_device: str
    disk_gb: int
    key_name: str
    spot: bool = False
    replaces: str | None = None
    why: str = ""
    """Why this image."""

    def sentence(self) -> str:
        return (
            f"create the {self.kind} machine: {self.type} in {self.zone}{' at the spot price' if self.spot else ''}, "
            f"image {self.image or 'of the disk that was kept'}{f' ({self.why})' if self.why else ''}, "
            f"{self.disk_gb} GB encrypted disk"
        )


@dataclass(frozen=True)
class AwaitStopped:
    machine: str | None = None

    def sentence(self) -> str:
        return f"wait until {self.machine or 'it'} has stopped"


@dataclass(frozen=True)
class StopInstance:
    machine: str | None = None
    """None: the one that has just been made."""

    def sentence(self) -> str:
        return f"stop {self.machine or 'it'}"


@dataclass(frozen=True)
class ChangeType:
    machine: str
    was: str
    type: str

    def sentence(self) -> str:
        return f"make {self.machine} a {self.type} instead of a {self.was}, with the same disk"


@dataclass(frozen=True)
class ChangeKind:
    resources: tuple[str, ...]
    was: str
    kind: str

    def sentence(self) -> str:
        return f"call it the {self.kind} machine instead of the {self.was} one"


@dataclass(frozen=True)
class SaveDisk:
    machine: str
    kind: str

    def sentence(self) -> str:
        return f"make an image of the disk of {self.machine}: a stopped spot machine cannot change its type"


@dataclass(frozen=True)
class AwaitImage:
    image: str | None = None

    def sentence(self) -> str:
        return "wait until the image is available"


@dataclass(frozen=True)
class DeregisterImage:
    image: str

    def sentence(self) -> str:
        return f"deregister the image {self.image}"


@dataclass(frozen=True)
class DeregisterSaved:
    """The image that the same plan has made."""

    def sentence(self) -> str:
        return "deregister the image, and delete the snapshots under it"


@dataclass(frozen=True)
class DeleteSnapshot:
    snapshot: str

    def sentence(self) -> str:
        return f"delete the snapshot {self.snapshot}"


@dataclass(frozen=True)
class CancelSpot:
    request: str

    def sentence(self) -> str:
        return f"cancel the spot request {self.request}"


@dataclass(frozen=True)
class Unprotect:
    machine: str

    def sentence(self) -> str:
        return f"lift the termination protection of {self.machine}"


@dataclass(frozen=True)
class StartInstance:
    machine: str

    def sentence(self) -> str:
        return f"start {self.machine}"


@dataclass(frozen=True)
class AwaitRunning:
    def sentence(self) -> str:
        return "wait until it runs"


@dataclass(frozen=True)
class AssociateAddress:
    def sentence(self) -> str:
        return "give the machine its elastic IP"


@dataclass(frozen=True)
class Terminate:
    machines: tuple[str, ...]

    def sentence(self) -> str:
        return f"terminate {', '.join(self.machines)} with its disk, and wait until it is gone"


@dataclass(frozen=True)
class ReleaseAddress:
    address: str
    ip: str
    association: str | None

    def sentence(self) -> str:
        return f"release the elastic IP {self.ip}"


@dataclass(frozen=True)
class DeleteKey:
    name: str

    def sentence(self) -> str:
        return f"delete the imported public key {self.name}"


@dataclass(frozen=True)
class DeleteGroup:
    group: str

    def sentence(self) -> str:
        return f"delete the security group {self.group}"


@dataclass(frozen=True)
class DeleteSubnet:
    subnet: str

    def sentence(self) -> str:
        return f"delete the subnet {self.subnet}"


@dataclass(frozen=True)
class DeleteTable:
    table: str
    links: tuple[str, ...]

    def sentence(self) -> str:
        return f"delete the route table {self.table}"


@dataclass(frozen=True)
class DeleteGateway:
    gateway: str
    vpc: str | None

    def sentence(self) -> str:
        return f"detach and delete the internet gateway {self.gateway}"


@dataclass(frozen=True)
class DeleteVpc:
    vpc: str

    def sentence(self) -> str:
        return f"delete the network {self.vpc}"
