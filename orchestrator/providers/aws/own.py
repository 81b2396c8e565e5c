"""Images of one's own, as EC2's tags tell of them; and which of them a new machine can begin with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ami import bake

from ... import __version__, prices
from ..base import MachineImage

ROLE = "image"
OLD = timedelta(days=90)
"""After which a new one is better: its packages lack three months of mended holes."""
LABELS = {
    "environment": "gpu:environment",
    "recipe": "gpu:recipe",
    "source": "gpu:source",
    "source_name": "gpu:source-name",
    "copied_from": "gpu:copied-from",
    "builder": "gpu:builder",
}
"""What an image says of itself, and under which tag."""
LONGEST = 255
"""Characters of a tag's value."""


def is_own(about: Mapping[str, Any]) -> bool:
    """Whether an image, or a snapshot, in EC2's words is one of these."""
    return _tags(about).get("gpu:role") == ROLE


def read(about: Mapping[str, Any], region: str) -> MachineImage:
    tags = _tags(about)
    disks = [disk["Ebs"] for disk in about.get("BlockDeviceMappings", []) if disk.get("Ebs")]
    size = sum(int(disk.get("VolumeSize", 0)) for disk in disks)
    return MachineImage(
        about["ImageId"],
        about.get("Name", ""),
        region,
        profile=tags.get("gpu:profile", ""),
        state=about.get("State", "pending"),
        made=datetime.fromisoformat(about["CreationDate"].replace("Z", "+00:00")),
        size_gb=size,
        architecture=about.get("Architecture") or "x86_64",
        version=tags.get("gpu:version", ""),
        per_month=size * prices.SNAPSHOT_GB_MONTH,
        snapshots=tuple(disk["SnapshotId"] for disk in disks if disk.get("SnapshotId")),
        root_device=about.get("RootDeviceName") or "/dev/sda1",
        **{name: tags.get(key, "") for name, key in LABELS.items()},
    )


def tags(labels: Mapping[str, str]) -> dict[str, str]:
    """`labels` of `LABELS` as an image and its snapshots carry them."""
    return {"gpu:role": ROLE, **{LABELS[name]: value[:LONGEST] for name, value in labels.items() if value}}


@dataclass(frozen=True)
class Newborn:
    """A machine that is to begin with an image."""

    type: str
    disk_gb: int
    emulated: bool = False
    """It has no GPU, whatever the type says."""

    @property
    def architecture(self) -> str:
        known = prices.table().types.get(self.type)
        return known.architecture if known else "x86_64"

    @property
    def environment(self) -> str:
        known = prices.table().types.get(self.type)
        return bake.environment_for(known.capability if known and not self.emulated else None)


def fitting(images: Iterable[MachineImage], machine: Newborn) -> tuple[list[MachineImage], list[str]]:
    """Those with which the machine can begin, newest first; and of each other one why it cannot."""
    fit, unfit = [], []
    for image in sorted(images, key=lambda i: (i.made, i.id), reverse=True):
        if why := misfit(image, machine):
            unfit.append(f"{image.id} {why}")
        else:
            fit.append(image)
    return fit, unfit


def misfit(image: MachineImage, machine: Newborn) -> str:
    """Why the machine cannot begin with the image, after «ami-1 »; empty where it can."""
    wanted = machine.environment
    if image.state != "available":
        return f"is {image.state}"
    if image.architecture != machine.architecture:
        return f"is for {image.architecture}, not for {machine.architecture}"
    if image.environment != wanted:
        return f"has the environment {image.environment or 'of nobody knows what'}, and {machine.type} needs {wanted}"
    if _line(image.version) != _line(__version__):
        return f"was made by gpu {image.version or 'of an unknown version'}"
    if image.size_gb > machine.disk_gb:
        return f"takes a disk of {image.size_gb} GB, and the profile's `disk_gb` is {machine.disk_gb}"
    return ""


def age(image: MachineImage, now: datetime | None = None) -> int:
    """Days."""
    return max(0, ((now or datetime.now(timezone.utc)) - image.made).days)


def is_old(image: MachineImage, now: datetime | None = None) -> bool:
    return age(image, now) > OLD.days


def _line(version: str) -> tuple[str, ...]:
    """As long as the first number is 0, the second one says what goes with what."""
    parts = version.split(".")
    return tuple(parts[:2] if parts[0] == "0" else parts[:1])


def _tags(about: Mapping[str, Any]) -> dict[str, str]:
    return {str(tag["Key"]): str(tag["Value"]) for tag in about.get("Tags", [])}
