"""Patience with EC2: machines take minutes, and all of EC2 hears of a change only after a while."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from ...errors import GpuError, UsageError
from .ec2 import Ec2
from .scribe import Scribe
from .session import Already, Gone, InUse, NotYet, Throttled, Unanswered

R = TypeVar("R")
SETTLE_SECONDS = 60.0
"""How long EC2 may not have heard yet of what it has just made, or still count what it has just deleted."""
MACHINE_SECONDS = 600.0
"""How long a machine may take to start, stop or go, unless the environment has `GPU_MACHINE_SECONDS`."""
BUSY_SECONDS = 15.0
"""How long a call that EC2 is not ready for is made again before one looks anew at what is there."""
PATIENCE = (1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before each further attempt at what AWS did not answer, or asked to be done later."""
ATTEMPT_SECONDS = 120.0
"""After so long no further attempt is begun."""
IMAGE_SECONDS = 3600.0
"""How long a snapshot of a disk may take."""


def machine_seconds(environ: Mapping[str, str]) -> float:
    text = environ.get("GPU_MACHINE_SECONDS", "")
    try:
        seconds = float(text or MACHINE_SECONDS)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UsageError(f"GPU_MACHINE_SECONDS is {text!r} in the environment", "It takes a number of seconds")
    return seconds


class Waiting(Protocol):
    def machine(self, machine: str, wanted: str, *, unless: tuple[str, ...] = ()) -> str:
        """Until the machine is `wanted`, or one of `unless`; returns which."""

    def image(self, image: str) -> tuple[str, ...]:
        """Until the image can be started from; returns the snapshots under it."""


class Watch:
    """Asks EC2 again and again, says what it waits for, and gives up with a GpuError."""

    def __init__(
        self,
        ec2: Ec2,
        say: Callable[[str], None],
        *,
        seconds: float | None = None,
        told: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`told` hears how many per cent of an image have been copied."""
        self._ec2 = ec2
        self._say = say
        self._told = told
        self._seconds = machine_seconds(os.environ) if seconds is None else seconds

    def machine(self, machine: str, wanted: str, *, unless: tuple[str, ...] = ()) -> str:
        began, said, pause = time.monotonic(), "", 0.2
        while True:
            waited = time.monotonic() - began
            phase = self._phase(machine, new=wanted == "running" and waited < SETTLE_SECONDS)
            if phase == wanted or (phase in unless and not (phase == "stopped" and said in ("", "stopped"))):
                return phase
            if phase != said:
                self._say(f"waiting until {machine} is {wanted}; it is {phase}")
                said = phase
            if waited > self._seconds:
                raise GpuError(
                    f"{machine} is still {phase} after {self._seconds:.0f} seconds",
                    "Run the same command again to go on waiting, or look at it in the EC2 console",
                )
            time.sleep(pause)
            # A machine that starts in ten seconds shall not be heard of after fifteen.
            pause = min(pause * 1.5, 0.5 if waited < SETTLE_SECONDS else 5.0)

    def image(self, image: str) -> tuple[str, ...]:
        deadline, pause = time.monotonic() + IMAGE_SECONDS, 0.5
        self._say(f"waiting until the image {image} is available")
        while (state := self._image_state(image)) != "available":
            if state in ("failed", "error", "invalid", "deregistered") or time.monotonic() > deadline:
                raise GpuError(f"the image {image} is {state}", "Run the same command again to make it anew")
            self._told(self._image_progress(image))
            time.sleep(pause)
            pause = min(pause * 1.5, 10.0)
        self._told(100.0)
        return self._ec2.image_snapshots(image)

    def _image_progress(self, image: str) -> float:
        try:
            return self._ec2.progress(image)
        except GpuError:
            # It is only shown: what is waited for is asked for again.
            return 0.0

    def _image_state(self, image: str) -> str:
        try:
            return self._ec2.image_state(image)
        except Gone:
            return "pending"

    def _phase(self, machine: str, *, new: bool) -> str:
        try:
            return self._ec2.phase(machine)
        except Gone:
            return "pending" if new else "terminated"


class Written:
    """Waits by writing down the command that waits."""

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe

    def machine(self, machine: str, wanted: str, *, unless: tuple[str, ...] = ()) -> str:
        del unless
        self._scribe.wait(f"instance-{wanted}", "instance-ids", machine)
        return wanted

    def image(self, image: str) -> tuple[str, ...]:
        self._scribe.wait("image-available", "image-ids", image)
        return (self._scribe.find_snapshot(image),)


def patiently(verb: Callable[[], R], *what: type[GpuError], seconds: float = SETTLE_SECONDS) -> R:
    """`verb`, again while it fails with `what`: EC2 tells all of itself what has changed only after a while."""
    deadline, pause = time.monotonic() + seconds, 0.5
    while True:
        try:
            return verb()
        except what:
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause *= 1.5


def persistently(attempt: Callable[[], R], say: Callable[[str], None]) -> R:
    """`attempt`, again when AWS did not answer or was too busy: each looks anew at what is there by then."""
    deadline = time.monotonic() + ATTEMPT_SECONDS
    for seconds in PATIENCE:
        try:
            return attempt()
        except (Unanswered, Throttled, NotYet, Already) as error:
            if time.monotonic() + seconds > deadline:
                raise
            say(f"{error.what}; looking again in {seconds:.0f} s at what is there")
            time.sleep(seconds)
    return attempt()


def terminated(machine: str) -> GpuError:
    return GpuError(
        f"{machine} was terminated by somebody else, and its disk with it", "Make a new machine with: gpu start"
    )


def gone_is_well(delete: Callable[[], None]) -> None:
    """`delete`, which may find it gone already; waits while something that is on its way out still uses it."""
    try:
        patiently(delete, InUse)
    except Gone:
        return
