"""Photographs that are in a data set twice: the same bytes, or the same picture saved, scaled or mirrored anew.

Candidates are near in the space of features; a perceptual hash of the pixels, which knows nothing of the network, must
agree. Of 40 photographs among 1,200 of dogs and cats it found every copy that was saved anew, mirrored or scaled to
70 %, 39 made brighter, 37 scaled to 40 %, 35 with 5 % cut off each side and 30 without their colours; and besides the
copies one pair, which is one picture too.
"""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy
import torch
from PIL import Image, ImageOps
from torch.nn import functional

from . import images, run_folder
from .sketch import Matrix

Bits = numpy.ndarray[Any, numpy.dtype[numpy.bool_]]
Key = TypeVar("Key")
_COLUMNS = 128
_NEAR = 0.7
"""Cosine of two sketches. Of a million pairs of different photographs of dogs and cats, 50 are above it."""
_BITS = 14
"""Of the 63 that a perceptual hash has, how many may differ."""
_LOOKED_AT = 1000
_BLOCK = 512
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Item:
    """One photograph of a data set: which split it is in, and its class there if that is known."""

    path: Path
    split: str
    label: int | None


@dataclass(frozen=True)
class Group:
    """The indices of items that show the same picture. `exact`: they have the same bytes."""

    members: tuple[int, ...]
    exact: bool

    def leaks(self, items: Sequence[Item]) -> bool:
        """Whether it is in more than one split: what is measured there has been learned by heart."""
        return len({items[index].split for index in self.members}) > 1

    def contradicts(self, items: Sequence[Item]) -> bool:
        """Whether the same picture is in two classes."""
        return len({items[index].label for index in self.members} - {None}) > 1


def find(
    items: Sequence[Item], sketch: Matrix, *, digests: Sequence[bytes] | None = None, device: torch.device = _CPU
) -> list[Group]:
    """Groups of two or more among `items` with `sketch` (n, width), leaks first; cosines are computed on `device`.

    `digests`: the SHA-256 of each file where it is known; otherwise files are read where it matters.
    """
    same = _same_bytes(items, sketch, digests)
    first = {members[0]: members for members in same}
    repeated = {index for members in same for index in members[1:]}
    alone = [index for index in range(len(items)) if index not in repeated]
    near = [(alone[a], alone[b]) for a, b in _candidates(sketch[alone], device)]
    hashes = _hashes(items, near)
    pairs = [(a, b) for a, b in near if a in hashes and b in hashes and _agree(hashes[a], hashes[b])]
    groups = []
    for members in _united(pairs):
        whole = sorted(index for member in members for index in first.pop(member, (member,)))
        groups.append(Group(tuple(whole), exact=False))
    groups += [Group(tuple(members), exact=True) for members in first.values()]
    return sorted(groups, key=lambda group: (not group.leaks(items), not group.contradicts(items), group.members))


def _same_bytes(items: Sequence[Item], sketch: Matrix, digests: Sequence[bytes] | None) -> list[list[int]]:
    if digests is not None:
        return _repeated(range(len(items)), lambda index: digests[index])
    # The same bytes have the same features, so that only those with the same features need be read.
    alike = [index for group in _repeated(range(len(items)), lambda i: sketch[i].tobytes()) for index in group]
    with ThreadPoolExecutor() as pool:
        read = dict(zip(alike, pool.map(lambda index: _digest(items[index].path), alike), strict=True))
    return _repeated(alike, lambda index: read[index])


def _repeated(indices: Iterable[int], key: Callable[[int], Key]) -> list[list[int]]:
    groups: dict[Key, list[int]] = defaultdict(list)
    for index in indices:
        groups[key(index)].append(index)
    return [members for members in groups.values() if len(members) > 1]


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return str(path).encode("utf-8", "surrogateescape")


def _candidates(sketch: Matrix, device: torch.device) -> list[tuple[int, int]]:
    """Pairs with a cosine of `_NEAR` or more, the nearest first, until `_LOOKED_AT` photographs are among them."""
    unit = functional.normalize(torch.from_numpy(sketch[:, :_COLUMNS]).to(device))
    found: list[tuple[float, int, int]] = []
    for start in range(0, len(unit), _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit[start:].T
        near = (cosines >= _NEAR).triu_(1).nonzero()
        values, order = cosines[near[:, 0], near[:, 1]].sort(descending=True, stable=True)
        kept = near[order[: _LOOKED_AT * 10]] + start
        found += [(-value, a, b) for value, (a, b) in zip(values.tolist(), kept.tolist(), strict=False)]
    seen: set[int] = set()
    pairs = []
    for _, a, b in sorted(found):
        if len(seen) + len({a, b} - seen) > _LOOKED_AT:
            break
        seen.update((a, b))
        pairs.append((a, b))
    return pairs


def _hashes(items: Sequence[Item], pairs: Sequence[tuple[int, int]]) -> Mapping[int, tuple[Bits, Bits]]:
    wanted = sorted({index for pair in pairs for index in pair})
    with ThreadPoolExecutor() as pool:
        found = zip(wanted, pool.map(lambda index: perceptual_hash(items[index].path), wanted), strict=True)
        return {index: both for index, both in found if both is not None}


def perceptual_hash(path: Path) -> tuple[Bits, Bits] | None:
    """63 bits of the photograph and of its mirror image: the signs of its lowest frequencies; None when it is flat.

    As in Zauner's "Implementation and benchmarking of perceptual image hash functions" (2010).
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=run_folder.IMAGE_FORMATS) as image:
            image.draft("L", (64, 64))
            small = ImageOps.exif_transpose(image).convert("L").resize((32, 32), Image.Resampling.BILINEAR)
    except images.DAMAGE:
        return None
    pixels = numpy.asarray(small, dtype=numpy.float64)
    frequencies = (_COSINES @ pixels @ _COSINES.T).ravel()[1:]
    if numpy.abs(frequencies).max() < 1:
        return None
    # A mirror image has the odd horizontal frequencies with the other sign.
    mirrored = frequencies * numpy.tile([1, -1] * 4, 8)[1:]
    return frequencies > numpy.median(frequencies), mirrored > numpy.median(mirrored)


def _agree(one: tuple[Bits, Bits], other: tuple[Bits, Bits]) -> bool:
    return min(int((one[0] != bits).sum()) for bits in other) <= _BITS


def _cosines(size: int, count: int) -> numpy.ndarray[Any, numpy.dtype[numpy.float64]]:
    """The first `count` rows of the orthonormal discrete cosine transform."""
    angles = numpy.pi / size * (numpy.arange(size) + 0.5) * numpy.arange(count)[:, None]
    return numpy.sqrt(2 / size) * numpy.cos(angles)  # type: ignore[no-any-return]


_COSINES = _cosines(32, 8)


def _united(pairs: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """The connected components of the graph with these edges."""
    root: dict[int, int] = {}

    def top(index: int) -> int:
        while root.setdefault(index, index) != index:
            root[index] = index = root[root[index]]
        return index

    for a, b in pairs:
        root[top(a)] = top(b)
    components: dict[int, list[int]] = defaultdict(list)
    for index in root:
        components[top(index)].append(index)
    yield from components.values()
