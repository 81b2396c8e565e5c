"""A folder home from the machine: nothing that comes from there is trusted."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..errors import GpuError
from ..providers.base import Address
from ..reporter import Progress
from . import wire as frames
from .copying import FULL, Copied, Remaining, complaint, open_tree, persistently, request, size
from .difference import Difference, compare, room, weight
from .exclusion import Occupied
from .inbound import Gathering, Haul
from .lanes import Lanes, lanes
from .link import Link, linked
from .meter import THERE, Meter
from .sender import Part
from .staging import Refused, Staging, locked
from .strangers import shown_name
from .tree import FILE, FOLDER, LINK, Manifest, Tree, decode, fingerprint

MARGIN_BYTES = 64 << 20
NOBODYS = bytes(32)
Choice = Callable[[Manifest], Manifest]


def pull(
    address: Address,
    source: PurePosixPath,
    target: Path,
    progress: Progress,
    *,
    checksum: bool = False,
    choose: Choice | None = None,
) -> Copied:
    """Bring the machine's folder `source` home; links, devices and the like are left there.

    What is at home alone stays. `checksum`: read every byte at both ends again. GpuError names files that changed
    meanwhile and changed again on a second try, after the rest is in place. `choose`: what is to come of all that is
    there, digests included.
    """
    if target.is_symlink():
        raise GpuError(f"{target} is a link, and what comes home would go elsewhere", "Move it away")
    asked = request("send", source, checksum=checksum)

    def attempt(remaining: Remaining) -> Copied:
        with _at_home(target) as staging:
            tree = open_tree(target, checksum=checksum and remaining.now == float("inf"))
            with linked(address, asked) as link:
                tree.look(link.beat)
                tree.complete(link.beat)
                return _Pull(link, (source, tree, staging), progress, choose).run(remaining)

    return persistently(attempt)


@contextmanager
def _at_home(target: Path) -> Iterator[Staging]:
    """The staging folder, with what can go wrong on this computer's disk as one sentence."""
    try:
        with locked(os.fsencode(target.absolute())) as staging:
            yield staging
    except OSError as error:
        if error.errno in FULL:
            raise GpuError(
                f"the disk of this computer is full: {target} is not all there ({error.strerror})",
                "Make room, then do it again; what has arrived is kept",
            ) from error
        where = shown_name(os.fsencode(error.filename)) if isinstance(error.filename, (str, bytes)) else str(target)
        raise GpuError(f"{where} cannot be written: {error.strerror}", "Mend that; what has arrived is kept") from error
    except Occupied as error:
        raise GpuError(f"another copy to {target} is under way", "Wait for it, then do it again") from error
    except (Refused, ValueError, struct.error) as error:
        raise GpuError(f"what came for {target} is refused: {error}", "Do not trust this machine") from error


class _Pull:
    def __init__(
        self,
        link: Link,
        places: tuple[PurePosixPath, Tree, Staging],
        progress: Progress,
        choose: Choice | None = None,
    ) -> None:
        self._link, self._wire, self._progress, self._choose = link, link.wire, progress, choose
        self._source, self._tree, self._staging = places

    def run(self, remaining: Remaining) -> Copied:
        staged = self._staging.contents(self._link.beat)
        # Nothing here to compare with: the machine need not read everything before it sends.
        known = fingerprint(self._tree.entries) if self._tree.entries or staged else b""
        if self._choose:
            # Nobody's: the machine reads everything, to say what it has.
            known = NOBODYS
        self._wire.send(frames.FINGERPRINT, known)
        answer = self._link.answer()
        left = tuple(shown_name(os.fsencode(str(name))) for name in answer.get("left", ()))
        if answer.get("same"):
            self._staging.clear()
            self._tree.save()
            self._progress.update(0, 0, THERE)
            return Copied(left=left)
        wanted = self._choose(self._manifest()) if self._choose else self._manifest()
        difference = compare(wanted, self._tree.entries, staged, lambda name: wanted[name].digest, mirror=False)
        self._refuse_to_remove(difference)
        self._check_room(difference, wanted)
        due = weight(difference, wanted)
        remaining.now = min(remaining.now, due)
        self._receive(difference, wanted)
        return Copied(len(difference.files) + len(difference.arrived), due, left=left)

    def _manifest(self) -> Manifest:
        try:
            wanted = decode(self._wire.expect(frames.MANIFEST))
        except ValueError as error:
            raise Refused(str(error)) from error
        for name, entry in wanted.items():
            if entry.kind not in (FILE, FOLDER):
                raise Refused(f"a link: {shown_name(name)}")
        return wanted

    def _refuse_to_remove(self, difference: Difference) -> None:
        for name in difference.gone:
            if self._tree.entries[name].kind != LINK:
                raise GpuError(
                    f"{shown_name(self._tree.path(name))} is a file here and a folder there, or the reverse",
                    "Move it away",
                )

    def _check_room(self, difference: Difference, wanted: Manifest) -> None:
        needed, free = room(difference, wanted), shutil.disk_usage(os.path.dirname(self._staging.target)).free
        if needed and needed + min(MARGIN_BYTES, needed) > free:
            raise GpuError(
                f"{size(needed)} are to come home, and the disk of this computer has {size(free)} left", "Make room"
            )

    def _receive(self, difference: Difference, wanted: Manifest) -> None:
        total = sum(entry.size for entry in wanted.values())
        due = weight(difference, wanted)
        meter = Meter(self._progress, total, done=total - due, files=len(difference.files))
        self._staging.drop(difference.useless)
        for name, digest in difference.arrived.items():
            self._staging.keep(name, digest)
        for name in difference.others:
            self._staging.folder(name)
        haul = Haul(self._staging, wanted, meter)
        self._take_files(difference, haul)
        if haul.failed:
            self._take_again(haul)
        self._wire.send(frames.PUBLISH)
        self._wire.flush()
        self._staging.publish(difference.gone, self._tree)
        meter.end()
        if haul.failed:
            raise complaint(haul.failed, "brought home")

    def _take_files(self, difference: Difference, haul: Haul) -> None:
        asked = request("give", self._source, checksum=False)
        work = (len(difference.files), weight(difference, haul.wanted))
        with lanes(self._link, asked, work) as ways:
            gathering = Gathering(ways, haul, difference.files)
            gathering.run()
            ways.keep(gathering.beside())

    def _take_again(self, haul: Haul) -> None:
        """Once more for what changed between the look and the sending."""
        self._wire.send(frames.AGAIN, b"\0".join(haul.failed))
        self._wire.flush()
        fresh = self._manifest()
        for name, entry in fresh.items():
            if name not in haul.failed or entry.kind != FILE:
                raise Refused(f"a file that was not asked for: {shown_name(name)}")
        haul.wanted.update(fresh)
        difference = Difference(files=dict.fromkeys(fresh, Part()))
        self._check_room(difference, haul.wanted)
        for name in fresh:
            del haul.failed[name]
        Gathering(Lanes(self._link), haul, difference.files).run()
