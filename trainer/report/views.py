"""The five looks of the lesson: some right ones and wrong ones at random, the surest of both, and the least sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from .facts import Answered, Array

EACH = 6


@dataclass(frozen=True)
class View:
    """Indices of validation photographs, and what is to be seen in them."""

    title: str
    words: str
    indices: list[int]


def choose(valid: Answered, seed: int) -> list[View]:
    """The five views in the lesson's order; always the same for the same answers and seed."""
    rows = numpy.arange(len(valid.labels))
    right, wrong = rows[valid.guesses == valid.labels], rows[valid.guesses != valid.labels]
    sure = valid.probabilities.max(axis=1)
    ordered = numpy.sort(valid.probabilities, axis=1)
    lead = ordered[:, -1] - ordered[:, -2]
    random = numpy.random.default_rng(seed)
    return [
        View("Right, at random", "What it usually gets right.", _some(right, random)),
        View("Wrong, at random", "What its mistakes look like.", _some(wrong, random)),
        View("Most confident and right", "The surest of each class in turn.", _in_turn(valid, right, sure)),
        View("Most confident and wrong", "Either hard to see, or labelled wrong.", _most(wrong, sure)),
        View("Most uncertain", "Where two classes were nearly even.", _most(rows, -lead)),
    ]


def _some(indices: Array, random: numpy.random.Generator) -> list[int]:
    return sorted(random.choice(indices, min(EACH, len(indices)), replace=False).tolist())


def _most(indices: Array, by: Array) -> list[int]:
    return indices[numpy.argsort(-by[indices], kind="stable")][:EACH].tolist()  # type: ignore[no-any-return]


def _in_turn(valid: Answered, indices: Array, by: Array) -> list[int]:
    """The first of each class, then the second of each, so that no class fills the row."""
    best = indices[numpy.argsort(-by[indices], kind="stable")]
    labels = valid.labels[best]
    turns = numpy.zeros(len(best), dtype=int)
    for label in numpy.unique(labels):
        turns[labels == label] = numpy.arange((labels == label).sum())
    return best[numpy.argsort(turns, kind="stable")][:EACH].tolist()  # type: ignore[no-any-return]
