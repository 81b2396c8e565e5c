"""Pictures that look alike although their bytes differ: saved anew, scaled, brightened or mirrored.

Two looks. The first is a difference hash of 128 bits (is a spot darker than its right, its lower neighbour?) after
N. Krawetz, "Kind of like that" (2013); only hashes that share one of some bands are compared, so that not every image
need be compared with every other. The second is the correlation of the two pictures, 16 pixels square.

Of 100 photographs among 1,200 of dogs and cats it found every copy that was saved in bad quality, mirrored, scaled to
70 % or 40 %, made brighter, grey or richer in contrast, and 23 with 5 % cut off each side; and besides the copies one
pair, which is one picture too.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TypeVar

from PIL import Image

Key = TypeVar("Key")

_GRID = 9
_SIDE = 16
_STRIP = 2 * _SIDE
_FROM_THE_MIDDLE = sorted(range(0, _SIDE**2, _STRIP), key=lambda start: abs(start - _SIDE**2 // 2))
_BITS = 2 * (_GRID - 1) ** 2
_BANDS = 12
"""Of 10 or 11 bits. Two hashes that differ in fewer bits than there are bands share one of them for certain."""
_CROWD = 300
"""A band that so many images share is of those that say little: skies, studio backgrounds."""
_MANY = 10
"""Candidates an image."""
_FLAT = 4.0
"""Standard deviation, of 255: below it there is no picture to compare."""


@dataclass(frozen=True)
class _Bounds:
    """How many bits may differ, and which correlation the pixels must have."""

    far: int
    alike: float


_USUAL = _Bounds(20, 0.93)
_STRICT = _Bounds(20, 0.998)


@dataclass(frozen=True)
class Sketch:
    """The hash of a picture and of its mirror image, and the pixels of both less their mean, of length 1."""

    bits: int
    mirrored: int
    pixels: array[float]
    mirror: array[float]


def sketch(picture: Image.Image) -> Sketch | None:
    """Of a picture in mode L; None when it is all of one colour."""
    pixels = picture.resize((_SIDE, _SIDE), Image.Resampling.BOX).tobytes()
    mean = sum(pixels) / len(pixels)
    length = sum((value - mean) ** 2 for value in pixels) ** 0.5
    if length < _FLAT * _SIDE:
        return None
    grid = picture.resize((_GRID, _GRID), Image.Resampling.BOX).tobytes()
    rows = [grid[start : start + _GRID] for start in range(0, len(grid), _GRID)]
    unit = array("f", ((value - mean) / length for value in pixels))
    return Sketch(_hash(rows), _hash([row[::-1] for row in rows]), unit, _mirror(unit))


def _hash(rows: Sequence[bytes]) -> int:
    bits = 0
    for upper, lower in pairwise(rows):
        for column in range(_GRID - 1):
            here = upper[column]
            bits = bits << 2 | (here < upper[column + 1]) << 1 | (here < lower[column])
    return bits


def alike(one: Sketch, other: Sketch, bounds: _Bounds = _USUAL) -> bool:
    """Whether the two are the same picture, as it is or mirrored."""

    if (one.bits ^ other.bits).bit_count() <= bounds.far and _correlate(one.pixels, other.pixels, bounds.alike):
        return True
    mirrored = (one.bits ^ other.mirrored).bit_count() <= bounds.far
    return mirrored and _correlate(one.pixels, other.mirror, bounds.alike)


def pairs(sketches: Mapping[int, Sketch]) -> Iterator[tuple[int, int]]:
    """The keys of those that are alike, each pair once, the smaller key first.

    Where nearly everything looks alike, as digits do, only what is all but the same counts.
    """
    candidates = _candidates(sketches)
    bounds = _USUAL if len(candidates) <= _MANY * len(sketches) else _STRICT
    for one, other in sorted(candidates):
        if alike(sketches[one], sketches[other], bounds):
            yield one, other


def united(found: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The pairs as groups: what is alike with one of a group is of the group."""
    leader: dict[int, int] = {}

    def lead(key: int) -> int:
        while leader.setdefault(key, key) != key:
            leader[key] = key = leader[leader[key]]
        return key

    for one, other in found:
        leader[max(lead(one), lead(other))] = min(lead(one), lead(other))
    groups: dict[int, list[int]] = defaultdict(list)
    for key in sorted(leader):
        groups[lead(key)].append(key)
    return [members for members in groups.values() if len(members) > 1]


def _candidates(sketches: Mapping[int, Sketch]) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        low, high = _BITS * band // _BANDS, _BITS * (band + 1) // _BANDS
        mask = (1 << high - low) - 1
        shelves: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for key, each in sketches.items():
            # A mirror image meets the other where its own mirror image would lie.
            for bits in {each.bits, each.mirrored}:
                shelves[bits >> low & mask].append((key, bits))
        for shelf in shelves.values():
            if len(shelf) <= _CROWD:
                found.update(_near(shelf))
    return found


def _near(shelf: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for (one, mine), (other, theirs) in combinations(shelf, 2):
        if one != other and (mine ^ theirs).bit_count() <= _USUAL.far:
            yield (one, other) if one < other else (other, one)


def _correlate(one: array[float], other: array[float], least: float) -> bool:
    """Whether the correlation is at least so much: of vectors of length 1 it is 1 less half of their distance squared,
    which only grows from row to row. The middle tells most pairs apart."""
    room = 2 * (1 - least)
    for start in _FROM_THE_MIDDLE:
        end = start + _STRIP
        room -= sum([(a - b) * (a - b) for a, b in zip(one[start:end], other[start:end], strict=True)])
        if room < 0:
            return False
    return True


def _mirror(pixels: array[float]) -> array[float]:
    rows = (pixels[start : start + _SIDE][::-1] for start in range(0, len(pixels), _SIDE))
    return array("f", (value for row in rows for value in row))
