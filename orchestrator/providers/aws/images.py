"""Which image and which type a new machine gets: asked of the region, never guessed."""

from __future__ import annotations

from collections.abc import Sequence

from ami import bake

from ...errors import GpuError, UsageError
from ...settings import Profile
from ..base import MachineImage
from . import own
from .ec2 import Ec2, Image
from .planner import Choice
from .session import Gone, Session, in_words

# The image with NVIDIA's driver comes first for CPU machines too: their disk is later switched to a GPU machine.
PARAMETERS = (
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id",
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
)
CANONICAL = "099720109477"
ABOUT = {PARAMETERS[0]: "AWS's Deep Learning image with the NVIDIA driver", PARAMETERS[1]: "Canonical's Ubuntu"}


SOURCES = {"deep-learning": PARAMETERS[0], "ubuntu": PARAMETERS[1]}
"""What a bake can begin from, by name."""


class Images:
    """One region's, seen by one profile."""

    def __init__(self, session: Session, ec2: Ec2, profile: Profile) -> None:
        self._session = session
        self._ec2 = ec2
        self._profile = profile

    def choose(self, types: tuple[str, ...]) -> Choice:
        """The first of `types` that the region offers, with the zones that have it and the image to begin from."""
        machine_type, zones = self.first_offered(types)
        image, why = self.of(machine_type)
        return Choice(machine_type, zones, image.id, image.root_device, why)

    def first_offered(self, types: tuple[str, ...], zone: str | None = None) -> tuple[str, tuple[str, ...]]:
        """The type and its zones; with `zone`, one that is offered there."""
        for machine_type in types:
            zones = self._ec2.zones(machine_type)
            if zones and (zone is None or zone in zones):
                return machine_type, zones
        raise GpuError(
            f"{zone or f'the region {self._profile.region}'} offers none of: {', '.join(types)}",
            "Name another type with --type, or another region in the profile",
        )

    def of(self, machine_type: str) -> tuple[Image, str]:
        """The image that a new machine of the type begins with, and why."""
        wanted = self._profile.image
        if wanted:
            image = self._look_up(wanted)
            if image is None:
                raise GpuError(f"there is no image {wanted} in {self._profile.region}", "Check `image` in the profile")
            return image, "as the profile says"
        machine = own.Newborn(machine_type, self._profile.disk_gb, self._profile.emulated)
        fit, unfit = own.fitting(self._ec2.own_images(), machine)
        if fit:
            return Image(fit[0].id, fit[0].root_device, "", fit[0].name), self._why_own(fit)
        image, about = self._public()
        none = f"since {unfit[0]}" if unfit else "since there is no image of your own; `gpu ami bake` makes one"
        return image, f"{about}, {none}"

    def source(self, wanted: str | None) -> Image:
        """What a bake begins from: by name, by id, or as a machine without an image of its own would."""
        if wanted is None:
            return self._look_up(self._profile.image or "") or self._public()[0]
        if wanted == "ubuntu":
            return self._public(PARAMETERS[1:])[0]
        image = None
        if wanted in SOURCES:
            image = self._parameter_image(SOURCES[wanted])
        elif wanted.startswith("ami-"):
            image = self._look_up(wanted)
        if image is None:
            raise UsageError(
                f"there is no image {wanted} in {self._profile.region}",
                f"Name one of {', '.join(SOURCES)}, or an image's id: ami-...",
            )
        return image

    def _why_own(self, fit: Sequence[MachineImage]) -> str:
        image = fit[0]
        others = f" of {len(fit)} that fit" if len(fit) > 1 else ""
        words = [f"{image.name}, your own, the newest{others}: {own.age(image)} days old"]
        if own.is_old(image):
            words.append("that is old, `gpu ami bake` makes a new one")
        if image.source and not self._look_up(image.source):
            words.append(f"what it was baked from, {image.source}, is no longer there: bake it anew")
        if image.recipe != bake.recipe():
            words.append("baked with another provision.sh than this gpu's")
        return "; ".join(words)

    def _public(self, parameters: Sequence[str] = PARAMETERS) -> tuple[Image, str]:
        for name in parameters:
            if image := self._parameter_image(name):
                return image, ABOUT[name]
        # A region without these parameters still has Canonical's images under their names.
        newest = self._ec2.newest_image(owner=CANONICAL, name="ubuntu/images/hvm-ssd*/ubuntu-*-amd64-server-*")
        if newest is None:
            region = self._profile.region
            raise GpuError(f"the region {region} has no Ubuntu image", "Name an AMI as `image` in the profile")
        return newest, ABOUT[PARAMETERS[1]]

    def _parameter_image(self, name: str) -> Image | None:
        found = self._parameter(name)
        return self._look_up(found) if found else None

    def _look_up(self, image: str) -> Image | None:
        try:
            return self._ec2.image(image) if image else None
        except Gone:
            return None

    def _parameter(self, name: str) -> str | None:
        try:
            return self._value(name)
        except Gone:
            return None

    @in_words
    def _value(self, name: str) -> str | None:
        return self._session.ssm.get_parameter(Name=name)["Parameter"].get("Value")
