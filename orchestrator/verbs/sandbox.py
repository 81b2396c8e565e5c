"""The rehearsal: an EC2 region on this computer."""

from __future__ import annotations

from ..errors import GpuError
from ..sandbox import region
from ..sandbox.region import Region
from .desk import Desk


def up(desk: Desk) -> Region:
    """Start the region, or find it running."""
    return region.up(desk.home.sandbox, desk.reporter.line)


def down(desk: Desk, *, purge: bool = False) -> bool:
    """End the region and every process in it; the instances' disks go too with `purge`. False: it was not up."""
    return region.down(desk.home.sandbox, purge=purge)


def status(desk: Desk) -> Region:
    """The running region; says when there is none, and when it ended by itself."""
    found = region.find(desk.home.sandbox)
    if found is None and region.crashed(desk.home.sandbox):
        raise GpuError(
            "the sandbox has crashed, and its region with it; its log is "
            f"{desk.home.sandbox / 'region.log'}, the disks are kept",
            "Start an empty one with: gpu sandbox up",
        )
    if found is None:
        raise GpuError("the sandbox is not up", "Start it with: gpu sandbox up")
    return found
