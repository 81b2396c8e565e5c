"""The rehearsal: an EC2 region on this computer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import GpuError, UsageError, nearest
from ..sandbox import region
from ..sandbox.control import Control
from ..sandbox.region import Region
from ..sandbox.rehearsals import REHEARSALS
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


@dataclass(frozen=True)
class Fault:
    """One that can be rehearsed, and where the region has it now."""

    name: str
    about: str
    active: tuple[dict[str, Any], ...]


def faults(desk: Desk) -> list[Fault]:
    """All that can be rehearsed; also where no region is up."""
    found = region.find(desk.home.sandbox)
    active = Control(found.endpoint_url).faults() if found else []
    return [
        Fault(name, rehearsal.about, tuple(one for one in active if one["name"] == name))
        for name, rehearsal in REHEARSALS.items()
    ]


def set_fault(desk: Desk, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Let the region have a fault; it is started for that, where it is not up. UsageError for what cannot be."""
    _check_name(name)
    return Control(up(desk).endpoint_url).set(name, **options)


def clear_faults(desk: Desk, name: str | None) -> int:
    """End the faults of that name, or all of them; returns how many there were."""
    if name is not None:
        _check_name(name)
    found = region.find(desk.home.sandbox)
    return Control(found.endpoint_url).clear(name) if found else 0


def _check_name(name: str) -> None:
    if name not in REHEARSALS:
        raise UsageError(f"there is no fault {name}", nearest(name, REHEARSALS) or "See them with: gpu sandbox fault")
