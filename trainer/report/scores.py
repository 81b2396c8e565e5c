"""How good the answers are, class by class, and how far that can be known from so many photographs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from .facts import Answered, Array

_Z = 1.959964
_BINS = 10


@dataclass(frozen=True)
class Share:
    """`part` of `whole`, with the interval that contains the truth 95 times of 100."""

    part: int
    whole: int

    @property
    def value(self) -> float:
        return self.part / self.whole if self.whole else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's (JASA 22, 1927): it keeps its level near 0 and 1 and for few photographs. Of nothing: (0, 1)."""
        if not self.whole:
            return 0.0, 1.0
        square = _Z * _Z / self.whole
        middle = (self.value + square / 2) / (1 + square)
        half = _Z / (1 + square) * math.sqrt(self.value * (1 - self.value) / self.whole + square / (4 * self.whole))
        return max(0.0, min(middle - half, self.value)), min(1.0, max(middle + half, self.value))


@dataclass(frozen=True)
class ClassScores:
    """One class: `precision` of what was taken for it, `recall` of what is of it."""

    label: int
    precision: Share
    recall: Share

    @property
    def f1(self) -> float:
        return _f1(self._overlap.value)

    @property
    def f1_interval(self) -> tuple[float, float]:
        """F1 is no share, but grows with one: right / (right + missed + mistaken), Hand, Christen and Kirielle's F*."""
        low, high = self._overlap.interval
        return _f1(low), _f1(high)

    @property
    def _overlap(self) -> Share:
        return Share(self.recall.part, self.recall.whole + self.precision.whole - self.recall.part)


def _f1(overlap: float) -> float:
    return 2 * overlap / (1 + overlap)


def by_class(confusion: Array) -> list[ClassScores]:
    """The scores of each class of `confusion` (true, predicted)."""
    return [
        ClassScores(label, Share(right, int(taken)), Share(right, int(there)))
        for label, (right, taken, there) in enumerate(
            zip(confusion.diagonal().tolist(), confusion.sum(axis=0), confusion.sum(axis=1), strict=True)
        )
    ]


def accuracy(confusion: Array) -> Share:
    return Share(int(confusion.trace()), int(confusion.sum()))


def mistakes(confusion: Array) -> list[tuple[int, int, int]]:
    """(count, true, predicted), the most frequent first."""
    wrong = confusion - numpy.diag(confusion.diagonal())
    return sorted(((-int(wrong[t, p]), int(t), int(p)) for t, p in numpy.argwhere(wrong)), key=lambda item: item)


@dataclass(frozen=True)
class Bin:
    """The photographs whose probability was about `expected` (its mean among them), and how many came `true`."""

    expected: float
    true: Share


def reliability(valid: Answered) -> Iterator[Bin]:
    """Ten equal bins of a probability: of two classes that of the second, of more that of the guess."""
    rows = valid.probabilities
    two = rows.shape[1] == 2
    said = rows[:, 1] if two else rows.max(axis=1)
    came = valid.labels == 1 if two else valid.guesses == valid.labels
    places = numpy.minimum((said * _BINS).astype(int), _BINS - 1)
    for place in range(_BINS):
        inside = places == place
        if inside.any():
            yield Bin(float(said[inside].mean()), Share(int(came[inside].sum()), int(inside.sum())))
