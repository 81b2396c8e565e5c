"""What can be rehearsed: the faults that the region can have, by name. Imports neither moto nor boto3."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rehearsal:
    about: str
    """One sentence: what happens, and what it rehearses."""
    options: tuple[str, ...] = ()
    """Of `action zone type seconds when`: those that mean something; `times` and `skip` always do."""
    seconds: float = 0.0
    """Used when none are given."""


REHEARSALS = {
    "reply-lost": Rehearsal(
        "The call is carried out and its answer never arrives (calls that change something, unless --action)",
        ("action",),
    ),
    "throttle": Rehearsal("AWS asks for patience: RequestLimitExceeded, --times N or until cleared", ("action",)),
    "no-capacity": Rehearsal(
        "No machine is free: InsufficientInstanceCapacity, in a --zone and of a --type or anywhere", ("zone", "type")
    ),
    "vcpu-limit": Rehearsal(
        "The quota is used up: VcpuLimitExceeded; AWS gives a new account 0 vCPUs of GPU", ("type",)
    ),
    "denied": Rehearsal(
        "The credentials may not do it: UnauthorizedOperation of EC2, AccessDenied of the others", ("action",)
    ),
    "not-found": Rehearsal(
        "What has just been made is not known everywhere for --seconds: Invalid...NotFound, and absent from lists",
        ("action", "seconds"),
        seconds=3.0,
    ),
    "stuck-pending": Rehearsal("Instances stay pending: until cleared, or for --seconds", ("zone", "type", "seconds")),
    "terminate": Rehearsal(
        "Somebody terminates the instances from outside: at once, or after the next call of --action",
        ("action", "zone", "type"),
    ),
    "spot-notice": Rehearsal(
        "EC2 takes spot instances back: a notice at once, the interruption --seconds later",
        ("action", "zone", "type", "seconds"),
        seconds=120.0,
    ),
    "clock-skew": Rehearsal(
        "This computer's clock is --seconds behind AWS's (ahead, if negative): signatures are refused",
        ("seconds",),
        seconds=3600.0,
    ),
    "latency": Rehearsal("A bad line: each answer takes --seconds longer", ("action", "seconds"), seconds=1.0),
    "hold": Rehearsal(
        "The call hangs, --when before or after it is carried out, until the fault is cleared: the moment to strike",
        ("action", "when"),
    ),
}
