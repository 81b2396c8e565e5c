"""What is missing at the other end, and what of it need not be sent again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .sender import RESUME_FROM, Part
from .tree import FILE, FOLDER, Entry, Manifest

BLOCK = 4096


@dataclass
class Difference:
    """Names, as bytes. `files`: to be sent, each after the part that has arrived already."""

    files: dict[bytes, Part] = field(default_factory=dict)
    arrived: dict[bytes, bytes] = field(default_factory=dict)
    """Whole in the staging folder, with their digests."""
    others: list[bytes] = field(default_factory=list)
    """Folders and links."""
    useless: list[bytes] = field(default_factory=list)
    """In the staging folder, and wanted by nobody."""
    gone: list[bytes] = field(default_factory=list)
    """Published there, and no longer here; or another kind of thing here."""

    @property
    def nothing(self) -> bool:
        return not (self.files or self.arrived or self.others or self.gone)


def compare(
    wanted: Manifest, published: Manifest, staged: Manifest, digest: Callable[[bytes], bytes], *, mirror: bool
) -> Difference:
    """`digest` gives a wanted file's; it is asked only where the sizes agree. `mirror`: what is not wanted goes."""
    found = Difference()
    for name, entry in wanted.items():
        there = published.get(name)
        if there is not None and there.kind != entry.kind:
            found.gone.append(name)
            there = None
        if entry.kind == FOLDER:
            if there is None:
                found.others.append(name)
        elif there is None or not _same(name, entry, there, digest):
            _ask_for(found, name, entry, (staged.get(name), digest))
    found.useless = [name for name in staged if name not in found.arrived and name not in found.files]
    if mirror:
        found.gone += [name for name in published if name not in wanted]
    return found


def _same(name: bytes, entry: Entry, there: Entry, digest: Callable[[bytes], bytes]) -> bool:
    return entry.size == there.size and there.digest != b"" and digest(name) == there.digest


def _ask_for(
    found: Difference, name: bytes, entry: Entry, staged: tuple[Entry | None, Callable[[bytes], bytes]]
) -> None:
    part, digest = staged
    if entry.kind != FILE:
        found.others.append(name)
    elif part is not None and _same(name, entry, part, digest):
        found.arrived[name] = part.digest
    elif part is not None and RESUME_FROM <= part.size < entry.size:
        found.files[name] = Part(part.size, part.digest)
    else:
        found.files[name] = Part()


def weight(difference: Difference, wanted: Manifest) -> int:
    """Bytes that have to be sent."""
    return sum(wanted[name].size - part.size for name, part in difference.files.items())


def room(difference: Difference, wanted: Manifest) -> int:
    """Bytes of disk that they take, in whole blocks."""
    sizes = (wanted[name].size - part.size for name, part in difference.files.items())
    return sum(-(-size // BLOCK) * BLOCK for size in sizes)
