"""More connections for a copy that has far to go: on each of them SSH has at most 2 MB on the way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import GpuError
from . import wire as frames
from .link import Link, started
from .wire import Broken

# 2 MB in so many seconds is about what one connection can encrypt.
NEAR_SECONDS = 0.012
MOST = 3
ECHOES = 4
# Less is there before another connection is made.
WORTH_BYTES = 64 << 20


class Lane:
    """One connection beside the first."""

    def __init__(self, link: Link, asked: Mapping[str, Any]) -> None:
        self.link, self.wire = link, link.wire
        self._asked, self._state = asked, "starting"
        self.turns = 0
        """How often it was given something to do: from then on its end is the copy's."""

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


class Lanes:
    """The first connection, and those beside it."""

    def __init__(self, main: Link, beside: Sequence[Lane] = ()) -> None:
        self.main, self.beside = main, beside
        self.touched: Lane | None = None
        """Whose wire it is when one breaks; None for the first connection's."""

    def ready(self) -> list[Lane]:
        return [lane for lane in self.beside if lane.is_ready()]

    def used(self) -> list[Lane]:
        return [lane for lane in self.beside if lane.turns]

    def beat(self) -> None:
        before, self.touched = self.touched, None
        self.main.beat()
        for lane in self.beside:
            if lane.turns:
                self.touched = lane
                lane.link.beat()
            else:
                lane.keep()
        self.touched = before

    def keep(self, digests: Mapping[bytes, bytes]) -> None:
        """Tell the first connection's end of the files that went beside it."""
        self.touched = None
        for name, digest in digests.items():
            self.main.wire.send(frames.KEEP, digest, name)


@contextlib.contextmanager
def lanes(main: Link, asked: Mapping[str, Any], work: tuple[int, int]) -> Iterator[Lanes]:
    """As many as help with so many files of so many bytes; `asked` of each beside `main`.

    What breaks beside `main` ends the copy in its own words.
    """
    with contextlib.ExitStack() as stack:
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
            # What went over them has arrived, or the copy has failed; one that is still connecting is not waited for.
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
