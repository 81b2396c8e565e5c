"""The same picture more than once in a data set: what that means, and which copy is too many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainer.run_folder import TEST, VALID

from .likeness import Sketch, pairs, united
from .looking import Look
from .photos import Photo


@dataclass(frozen=True)
class Twins:
    """Indices of photos, of `test`, `valid` and `train` in this order. `exact`: they have the same bytes."""

    members: tuple[int, ...]
    exact: bool

    def leak(self, photos: Sequence[Photo]) -> bool:
        """Whether it is in more than one part: what is measured on one has been seen in the other."""
        return len({photos[index].part for index in self.members}) > 1

    def contradiction(self, photos: Sequence[Photo]) -> bool:
        """Whether it is in two classes, and one of them is wrong."""
        return len({photos[index].label for index in self.members if photos[index].part != TEST}) > 1

    def redundant(self, photos: Sequence[Photo]) -> list[int]:
        """The copies that can go.

        What is measured on stays: a test image always, for each has its row in the submission; then one validation
        image; only then one to train on. Of two in one part the first by name stays. Nobody knows which of two classes
        is right, and near ones may be two pictures: these all stay.
        """
        if not self.exact or self.contradiction(photos):
            return []
        tests = [index for index in self.members if photos[index].part == TEST]
        rest = [index for index in self.members if photos[index].part != TEST]
        return rest if tests else rest[1:]


def find(photos: Sequence[Photo], looks: Sequence[Look]) -> list[Twins]:
    """All groups, by the order of their first members; the exact ones first."""
    order = {index: (photos[index].part != TEST, photos[index].part != VALID, index) for index in range(len(photos))}
    same: dict[bytes, list[int]] = defaultdict(list)
    for index in sorted(order, key=order.__getitem__):
        if looks[index].digest:
            same[looks[index].digest].append(index)
    exact = [Twins(tuple(members), exact=True) for members in same.values() if len(members) > 1]
    first = {members[0]: members for members in same.values()}
    near = [
        Twins(tuple(sorted((i for one in group for i in first[one]), key=order.__getitem__)), exact=False)
        for group in united(pairs(_sketches(first, looks)))
    ]
    return exact + near


def _sketches(first: Mapping[int, object], looks: Sequence[Look]) -> dict[int, Sketch]:
    return {index: sketch for index in first if (sketch := looks[index].sketch) is not None}
