"""More connections for a push that has far to go: on each of them SSH has at most 2 MB on the way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from ..errors import GpuError
from . import wire as frames
from .copying import request
from .link import BEAT_SECONDS, Link, started
from .tree import Manifest, decode
from .wire import Broken, Wire

# 2 MB in so many seconds is about what one connection can encrypt.
NEAR_SECONDS = 0.012
MOST = 3
ECHOES = 4
# Less is there before another connection is made.
WORTH_BYTES = 64 << 20


class Lane:
    """One connection beside the first. Its machine's end stages what it gets, and says in the end what is whole."""

    def __init__(self, link: Link, asked: Mapping[str, Any]) -> None:
        self.link, self.wire = link, link.wire
        self._asked, self._state = asked, "starting"
        self.turns = 0
        """How often it was chosen."""

    def start(self) -> None:
        with self.or_nothing():
            self.link.ask(self._asked)

    @contextlib.contextmanager
    def or_nothing(self) -> Iterator[None]:
        """Where a second connection is not to be had, one is enough."""
        try:
            yield
        except (Broken, GpuError):
            self._state = "refused"

    def is_ready(self) -> bool:
        """Without waiting for it."""
        if self._state == "starting" and self.wire.has_news():
            self._state = "ready"
            with self.or_nothing():
                self.link.answer()
        return self._state == "ready"

    def keep(self) -> None:
        """Alive, until it is used."""
        if self._state != "refused":
            with self.or_nothing():
                self.link.beat()

    def finish(self) -> None:
        self.wire.send(frames.PUBLISH)
        self.wire.flush()

    def arrived(self) -> Manifest:
        """What is whole there, with its digests."""
        try:
            return decode(self.wire.expect(frames.MANIFEST))
        except ValueError as error:
            raise GpuError(f"{self.link.address.host} tells of {error}", "See: gpu doctor") from error


class Lanes:
    """The first connection, and those beside it."""

    def __init__(self, main: Link, beside: list[Lane]) -> None:
        self._main, self._beside, self._turns = main, beside, 0
        self._room = 0
        self._chosen: Lane | None = None
        self.touched: Lane | None = None
        """Whose wire it is when one breaks; None for the first connection's."""

    def freest(self, size: int) -> Wire:
        """For a file of so many bytes: of the one with least to do, chosen anew for every quarter of a megabyte."""
        self._room -= size
        if not self._beside or self._room > 0:
            return self._chosen.wire if self._chosen else self._main.wire
        self._room = frames.GATHERED
        ready = [lane for lane in self._beside if lane.is_ready()]
        best = min(ready, key=lambda lane: (lane.wire.backlog(), lane.turns), default=None)
        if best is None or (best.wire.backlog(), best.turns) >= (self._main.wire.backlog(), self._turns):
            self._chosen = self.touched = None
            self._turns += 1
            return self._main.wire
        self._chosen = self.touched = best
        best.turns += 1
        return best.wire

    def beat(self) -> None:
        self.touched = None
        self._main.beat()
        for lane in self._beside:
            if lane.turns:
                self.touched = lane
                lane.link.beat()
            else:
                lane.keep()
        self.touched = self._chosen

    def end(self) -> None:
        """Tell the first one what has come beside it."""
        used = [lane for lane in self._beside if lane.turns]
        for lane in used:
            self.touched = lane
            lane.finish()
        arrived: Manifest = {}
        for lane in used:
            while not lane.wire.has_news(BEAT_SECONDS):
                self.beat()
            self.touched = lane
            arrived.update(lane.arrived())
        self.touched = None
        for name, entry in arrived.items():
            self._main.wire.send(frames.KEEP, entry.digest, name)


@contextlib.contextmanager
def lanes(main: Link, target: PurePosixPath, work: tuple[int, int]) -> Iterator[Lanes]:
    """As many as help with so many files of so many bytes. What breaks beside `main` ends the copy in its own words."""
    with contextlib.ExitStack() as stack:
        asked = request("join", target, checksum=False)
        beside = [Lane(stack.enter_context(started(main.address)), asked) for _ in range(_worth(main, *work))]
        for lane in beside:
            lane.start()
        ways = Lanes(main, beside)
        try:
            yield ways
        except Broken as error:
            if ways.touched is None:
                raise
            raise ways.touched.link.last_words() from error
        finally:
            # What they have sent has arrived, or the copy has failed; one that is still connecting is not waited for.
            for lane in beside:
                lane.link.process.kill()


def _worth(main: Link, files: int, size: int) -> int:
    # Another connection by the user's own configuration may ask for a password, or for a touch.
    if main.address.key_file is None or files < 2 or size < WORTH_BYTES:
        return 0
    return min(int(_round_trip(main) / NEAR_SECONDS), MOST - 1, files - 1)


def _round_trip(main: Link) -> float:
    """In seconds, the shortest of some; and the machine's end has done all that it was sent, and lets others join."""
    shortest = float("inf")
    for _ in range(ECHOES):
        began = time.monotonic()
        main.wire.send(frames.SHARE)
        main.answer()
        shortest = min(shortest, time.monotonic() - began)
        if shortest < NEAR_SECONDS:
            break
    return shortest
