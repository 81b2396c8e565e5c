"""Which image and which type a new machine gets: asked of the region, never guessed."""

from __future__ import annotations

from ...errors import GpuError
from ...settings import Profile
from .ec2 import Ec2, Image
from .planner import Choice
from .session import Gone, Session, in_words

# The image with NVIDIA's driver comes first for CPU machines too: their disk is later switched to a GPU machine.
PARAMETERS = (
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id",
    "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
)
CANONICAL = "099720109477"


def choose(session: Session, ec2: Ec2, profile: Profile, types: tuple[str, ...]) -> Choice:
    """The first of `types` that the region offers, with the zones that have it and the image to begin from."""
    for instance_type in types:
        zones = ec2.zones(instance_type)
        if zones:
            image = _image(session, ec2, profile)
            return Choice(instance_type, zones, image.id, image.root_device)
    raise GpuError(
        f"the region {profile.region} offers none of: {', '.join(types)}",
        "Name another type with --type, or another region in the profile",
    )


def _image(session: Session, ec2: Ec2, profile: Profile) -> Image:
    names = [profile.image] if profile.image else [_parameter(session, name) for name in PARAMETERS]
    for name in names:
        if name and (image := _look_up(ec2, name)):
            return image
    if profile.image:
        raise GpuError(f"there is no image {profile.image} in {profile.region}", "Check `image` in the profile")
    # A region without these parameters still has Canonical's images under their names.
    newest = ec2.newest_image(owner=CANONICAL, name="ubuntu/images/hvm-ssd*/ubuntu-*-amd64-server-*")
    if newest is None:
        raise GpuError(f"the region {profile.region} has no Ubuntu image", "Name an AMI as `image` in the profile")
    return newest


def _look_up(ec2: Ec2, image: str) -> Image | None:
    try:
        return ec2.image(image)
    except Gone:
        return None


def _parameter(session: Session, name: str) -> str | None:
    try:
        return _value(session, name)
    except Gone:
        return None


@in_words
def _value(session: Session, name: str) -> str | None:
    return session.ssm.get_parameter(Name=name)["Parameter"].get("Value")
