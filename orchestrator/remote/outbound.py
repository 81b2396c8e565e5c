"""Files to the machine over one connection or several: each goes out on the one that has least to do."""

from __future__ import annotations

from ..errors import GpuError
from . import wire as frames
from .lanes import Lane, Lanes
from .link import BEAT_SECONDS
from .tree import Manifest, decode
from .wire import Wire


class Outbound:
    """Each machine's end stages what it gets; those beside the first say in the end what is whole."""

    def __init__(self, ways: Lanes) -> None:
        self._ways, self._turns, self._room = ways, 0, 0
        self._chosen: Lane | None = None

    def freest(self, size: int) -> Wire:
        """For a file of so many bytes: of the one with least to do, chosen anew for every quarter of a megabyte."""
        ways, main = self._ways, self._ways.main.wire
        self._room -= size
        if not ways.beside or self._room > 0:
            return self._chosen.wire if self._chosen else main
        self._room = frames.GATHERED
        best = min(ways.ready(), key=lambda lane: (lane.wire.backlog(), lane.turns), default=None)
        if best is None or (best.wire.backlog(), best.turns) >= (main.backlog(), self._turns):
            self._chosen = ways.touched = None
            self._turns += 1
            return main
        self._chosen = ways.touched = best
        best.turns += 1
        return best.wire

    def end(self) -> None:
        """Tell the first one what has come beside it."""
        ways = self._ways
        for lane in ways.used():
            ways.touched = lane
            lane.wire.send(frames.PUBLISH)
            lane.wire.flush()
        arrived: dict[bytes, bytes] = {}
        for lane in ways.used():
            ways.touched = lane
            while not lane.wire.has_news(BEAT_SECONDS):
                ways.beat()
            arrived.update({name: entry.digest for name, entry in _arrived(lane).items()})
        ways.keep(arrived)


def _arrived(lane: Lane) -> Manifest:
    """What is whole there, with its digests."""
    try:
        return decode(lane.wire.expect(frames.MANIFEST))
    except ValueError as error:
        raise GpuError(f"{lane.link.address.host} tells of {error}", "See: gpu doctor") from error
