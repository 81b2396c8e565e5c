"""A folder to the machine: what is missing as one stream, large changed files as a difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import GpuError
from ..providers.base import Address
from ..reporter import Progress
from . import rsync
from . import wire as frames
from .copying import Copied, Remaining, complaint, open_tree, persistently, request, size
from .difference import Difference, compare, room, weight
from .lanes import lanes
from .link import Link, linked
from .meter import THERE, Meter
from .outbound import Outbound
from .sender import Part, send_file
from .strangers import look
from .tree import FILE, LINK, Entry, Manifest, Tree, decode, fingerprint
from .wire import Wire

MARGIN_BYTES = 256 << 20


def push(
    address: Address, source: Path, target: PurePosixPath, progress: Progress, *, checksum: bool = False
) -> Copied:
    """Make the machine's folder `target` (from its home folder) the same as `source`: what is gone here goes there.

    `checksum`: read every byte at both ends again, instead of trusting sizes and times. GpuError names a link out of
    the folder, a device, a FIFO or a socket before anything is sent, and files that changed meanwhile after the rest
    has been put in place.
    """
    if not source.is_dir():
        raise GpuError(f"there is no folder {source}", "Make it with: gpu data prepare")
    asked = request("receive", target, checksum=checksum)

    def attempt(remaining: Remaining) -> Copied:
        tree = open_tree(source, checksum=checksum and remaining.now == float("inf"))
        try:
            with linked(address, asked) as link:
                # While ssh connects, and the machine looks at its own.
                look(tree, link.beat)
                return _Push(link, (tree, target), progress).run(remaining)
        finally:
            tree.save()

    return persistently(attempt)


@dataclass(frozen=True)
class _Facts:
    """Of the machine. `free_files`: None where its disk has no such limit. `target` and `staging`: absolute there."""

    free_bytes: int
    free_files: int | None
    rsync: bool
    target: str
    staging: str

    @classmethod
    def read(cls, host: str, answer: Mapping[str, Any]) -> _Facts:
        try:
            nodes = answer["free_files"]
            places = (str(answer["target"]), str(answer["staging"]))
            return cls(int(answer["free_bytes"]), None if nodes is None else int(nodes), bool(answer["rsync"]), *places)
        except (KeyError, TypeError, ValueError) as error:
            raise GpuError(f"{host} answered what cannot be read: {error!r}", "See: gpu doctor") from error


@dataclass(frozen=True)
class _Plan:
    """What the machine has said, and what follows from it."""

    facts: _Facts
    published: Manifest
    difference: Difference


class _Push:
    def __init__(self, link: Link, places: tuple[Tree, PurePosixPath], progress: Progress) -> None:
        self._link, self._wire = link, link.wire
        self._tree, self._target = places
        tree = self._tree
        self._total = sum(entry.size for entry in tree.entries.values() if entry.kind == FILE)
        self._files = sum(entry.kind == FILE for entry in tree.entries.values())
        self._progress = progress
        self._failed: dict[bytes, str] = {}

    def run(self, remaining: Remaining) -> Copied:
        self._wire.send(frames.FINGERPRINT, fingerprint(self._tree.entries))
        facts = self._link.answer()
        if facts.get("same"):
            self._progress.update(0, 0, THERE)
            return Copied()
        plan = self._plan(facts)
        left = weight(plan.difference, self._tree.entries)
        self._check_room(plan)
        remaining.now = min(remaining.now, left)
        meter = Meter(self._progress, self._total, done=self._total - left, files=len(plan.difference.files))
        self._send(plan, meter)
        copied = self._publish(plan, left)
        meter.end()
        return copied

    def _plan(self, facts: dict[str, Any]) -> _Plan:
        published, staged = (self._manifest() for _ in range(2))
        find = lambda name: self._tree.digest(name, self._link.beat)  # noqa: E731
        told = _Facts.read(self._link.address.host, facts)
        return _Plan(told, published, compare(self._tree.entries, published, staged, find, mirror=True))

    def _manifest(self) -> Manifest:
        try:
            return decode(self._wire.expect(frames.MANIFEST))
        except ValueError as error:
            raise GpuError(f"{self._link.address.host} tells of {error}", "See: gpu doctor") from error

    def _check_room(self, plan: _Plan) -> None:
        needed, free = room(plan.difference, self._tree.entries), plan.facts.free_bytes
        files, nodes = len(plan.difference.files), plan.facts.free_files
        host = self._link.address.host
        if needed and needed + min(MARGIN_BYTES, needed) > free:
            raise GpuError(
                f"{size(needed)} are to be sent, and {host} has {size(free)} of disk left", "Make room there first"
            )
        if nodes is not None and files > nodes:
            raise GpuError(f"{files} files are to be sent, and {host}'s disk has room for {nodes}", "Make room first")

    def _send(self, plan: _Plan, meter: Meter) -> None:
        difference = plan.difference
        for name in difference.useless:
            self._wire.send(frames.DROP, name)
        for name, digest in difference.arrived.items():
            self._wire.send(frames.KEEP, digest + name)
        for name in difference.others:
            self._send_other(name)
        whole = dict(difference.files)
        if plan.facts.rsync:
            for name in self._send_differences(plan, meter):
                del whole[name]
        self._send_whole(whole, meter)
        # Once more for what changed between the look and the sending.
        for name in list(self._failed):
            self._tree.refresh(name)
            if name in self._tree.entries and self._tree.entries[name].kind == FILE:
                del self._failed[name]
                self._send_file(self._wire, (name, Part()), meter, meter.bytes)
        for name in difference.gone:
            self._wire.send(frames.REMOVE, name)

    def _send_other(self, name: bytes) -> None:
        entry = self._tree.entries[name]
        if entry.kind == LINK:
            self._wire.send(frames.LINK, name + b"\0" + self._tree.link_text(name))
        else:
            self._wire.send(frames.FOLDER, name)

    def _send_whole(self, whole: Mapping[bytes, Part], meter: Meter) -> None:
        due = sum(self._tree.entries[name].size - part.size for name, part in whole.items())
        asked = request("join", self._target, checksum=False)
        with lanes(self._link, asked, (len(whole), due)) as ways:
            out = Outbound(ways)

            def told(count: int) -> None:
                meter.bytes(count)
                ways.beat()

            for name, part in whole.items():
                self._send_file(out.freest(self._tree.entries[name].size), (name, part), meter, told)
            out.end()

    def _send_file(self, wire: Wire, asked: tuple[bytes, Part], meter: Meter, told: Callable[[int], None]) -> None:
        name, part = asked
        # Hashed anew: what is remembered and not so would be refused there again and again.
        seen = self._tree.entries[name]
        entry = Entry(seen.kind, seen.size, seen.mtime_ns, b"")
        digest, why = send_file(wire, self._tree.path(name), (name, entry), part, told)
        if why:
            self._failed[name] = why
        else:
            self._tree.learn(name, digest)
        meter.file()

    def _send_differences(self, plan: _Plan, meter: Meter) -> list[bytes]:
        """The files that rsync has brought over, as their digests show."""
        fresh = [name for name, part in plan.difference.files.items() if not part.size]
        names = rsync.worth_it(fresh, self._tree.entries, plan.published)
        if not names:
            return []
        self._wire.flush()
        places = rsync.Places(self._tree.root, plan.facts.staging, plan.facts.target)

        def told(count: int) -> None:
            self._link.beat()
            meter.bytes(count)

        rsync.send(self._link.address, places, names, told)
        return [name for name in names if self._has_arrived(name, meter)]

    def _has_arrived(self, name: bytes, meter: Meter) -> bool:
        digest = self._tree.digest(name, self._link.beat)
        if not digest:
            return False
        self._wire.send(frames.CHECK, digest + name)
        good = self._link.answer().get("good") is True
        if good:
            meter.file()
        return good

    def _publish(self, plan: _Plan, sent: int) -> Copied:
        self._wire.send(frames.PUBLISH)
        self._link.answer()
        theirs = self._wire.expect(frames.FINGERPRINT)
        if self._failed:
            raise complaint(self._failed, "sent")
        if theirs != fingerprint(self._tree.entries):
            raise GpuError(f"{self._link.address.host} has something else than was sent", "Do it again")
        return Copied(len(plan.difference.files) + len(plan.difference.arrived), sent, len(plan.difference.gone))
