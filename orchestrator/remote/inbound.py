"""Files from the machine over one connection or several: on each comes what was asked there, and nothing else."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from . import wire as frames
from .lanes import Lane, Lanes
from .link import BEAT_SECONDS, Link
from .meter import Meter
from .sender import HEADER, SMALL_HEADER, Part
from .staging import Refused, Staging
from .strangers import shown_name
from .tree import FILE, Entry, Manifest, encode

# Of two batches one is on its way while the other is asked for: each is more than SSH has on the way.
BATCH_BYTES = 4 << 20
AHEAD = 2
# What a file costs beside its bytes. It also bounds what is asked at once, which nobody reads while he sends.
FILE_BYTES = 4096


@dataclass
class Haul:
    """What is to come home, and what has become of it."""

    staging: Staging
    wanted: Manifest
    meter: Meter
    failed: dict[bytes, str] = field(default_factory=dict)

    def judge(self, name: bytes, good: bool) -> None:
        announced = self.wanted[name].digest
        if good and announced and self.staging.verified[name] != announced:
            self.staging.drop([name])
            good = False
        if not good:
            self.failed[name] = "changed"


_WHOLE = Entry(FILE, 0, 0, b"")


class Inbound:
    """One connection's end of it. `lane`: None for the first connection."""

    def __init__(self, haul: Haul, link: Link, lane: Lane | None = None) -> None:
        self._haul, self._link, self.wire, self.lane = haul, link, link.wire, lane
        self._staging, self._number = haul.staging, id(self)
        self._asked: deque[Manifest] = deque()
        self.brought: list[bytes] = []
        """Names; not all of them were whole."""

    def is_busy(self) -> bool:
        return bool(self._asked)

    def has_room(self) -> bool:
        return len(self._asked) < AHEAD

    def ask(self, batch: Mapping[bytes, Part]) -> None:
        if self.lane:
            self.lane.turns += 1
        parts = {name: Entry(FILE, part.size, 0, part.digest) for name, part in batch.items() if part.size}
        if parts:
            self.wire.send(frames.PART, encode(parts))
        self.wire.send(frames.WANT, encode({name: self._haul.wanted[name] for name in batch}))
        self.wire.flush()
        self._asked.append({name: parts.get(name, _WHOLE) for name in batch})

    def take(self) -> None:
        """Wait for a frame, and take it and what has come with it, up to the end of a batch."""
        while self._take(*self.wire.receive()) and self.wire.has_frame():
            continue

    def _take(self, kind: bytes, payload: memoryview) -> bool:
        """False at the end of a batch."""
        meter = self._haul.meter
        if kind == frames.SMALL:
            self._small(payload)
            meter.bytes(len(payload))
            meter.file()
        elif kind == frames.FILE:
            self._begin(bytes(payload))
        elif kind == frames.DATA:
            self._staging.data(payload, self._number)
            meter.bytes(len(payload))
        elif kind == frames.END:
            self._haul.judge(*self._staging.end(bytes(payload), self._number))
            meter.file()
        elif kind == frames.ANSWER:
            self._finish(self._link.checked(bytes(payload)))
            return False
        else:
            raise Refused(f"a frame of no kind: {kind!r}")
        return True

    def _small(self, payload: memoryview) -> None:
        _mtime, length, _digest = SMALL_HEADER.unpack_from(payload)
        start = SMALL_HEADER.size + length
        name = bytes(payload[SMALL_HEADER.size : start])
        self._expected(name)
        if len(payload) - start != self._haul.wanted[name].size:
            raise Refused(f"another size than was announced: {shown_name(name)}")
        self._haul.judge(*self._staging.small(payload))

    def _begin(self, header: bytes) -> None:
        name = header[HEADER.size :]
        part = self._expected(name)
        _mtime, length, offset = HEADER.unpack_from(header)
        if length != self._haul.wanted[name].size or offset not in (0, part.size):
            raise Refused(f"another size than was announced: {shown_name(name)}")
        self._staging.begin(header, self._number)

    def _expected(self, name: bytes) -> Entry:
        """What was asked of it; it comes once."""
        part = self._asked[0].pop(name, None) if self._asked else None
        if part is None:
            raise Refused(f"a file that was not asked for: {shown_name(name)}")
        self.brought.append(name)
        return part

    def _finish(self, answer: dict[str, object]) -> None:
        if not self._asked:
            raise Refused("an answer to nothing")
        failed = answer.get("failed")
        told = failed if isinstance(failed, dict) else {}
        for name in self._asked.popleft():
            self._haul.failed[name] = str(told.get(os.fsdecode(name), "was not sent"))[:100]


class Gathering:
    """All of `files`, each connection asked for more as soon as it has brought some."""

    def __init__(self, ways: Lanes, haul: Haul, files: Mapping[bytes, Part]) -> None:
        self._ways, self._haul = ways, haul
        self._batches = _batches(files, haul.wanted)
        self._flows: dict[Lane | None, Inbound] = {None: Inbound(haul, ways.main)}

    def run(self) -> None:
        while True:
            self._ask()
            busy = [flow for flow in self._flows.values() if flow.is_busy()]
            if not busy:
                return
            for flow in self._with_news(busy):
                self._ways.touched = flow.lane
                flow.take()
            self._ways.beat()

    def beside(self) -> dict[bytes, bytes]:
        """What has come over other connections than the first, with its digests."""
        verified = self._haul.staging.verified
        flows = [flow for lane, flow in self._flows.items() if lane]
        return {name: verified[name] for flow in flows for name in flow.brought if name in verified}

    def _ask(self) -> None:
        for lane in self._ways.ready():
            if lane not in self._flows:
                self._flows[lane] = Inbound(self._haul, lane.link, lane)
        for _ in range(AHEAD):
            for flow in self._flows.values():
                if flow.has_room() and (batch := next(self._batches, None)):
                    self._ways.touched = flow.lane
                    flow.ask(batch)

    def _with_news(self, busy: list[Inbound]) -> list[Inbound]:
        """Those whose `take` need not wait; the first connection, where it is alone, may."""
        if not self._ways.beside:
            return busy
        if held := [flow for flow in busy if flow.wire.has_frame()]:
            return held
        poll = select.poll()
        for flow in busy:
            poll.register(flow.wire, select.POLLIN)
        found = {descriptor for descriptor, _event in poll.poll(BEAT_SECONDS * 1000)}
        return [flow for flow in busy if flow.wire.fileno() in found]


def _batches(files: Mapping[bytes, Part], wanted: Manifest) -> Iterator[dict[bytes, Part]]:
    batch: dict[bytes, Part] = {}
    room = BATCH_BYTES
    for name, part in files.items():
        batch[name] = part
        room -= wanted[name].size - part.size + FILE_BYTES + len(name)
        if room <= 0:
            yield batch
            batch, room = {}, BATCH_BYTES
    if batch:
        yield batch
