from __future__ import annotations

import numpy
import pytest

from trainer import sketch, suspects

from .examined import EACH, Examined, examined

__all__ = ["examined"]


def test_exchanged_labels_of_real_photographs_are_found(examined: Examined) -> None:
    """In ten trials with 4 of 80: most of them, and few of the others."""
    known, right, wrong = examined.sketch[: 2 * EACH], 0, 0
    assert suspects.find(known, examined.labels) == []
    for seed in range(10):
        exchanged = numpy.random.default_rng(seed).choice(len(known), 4, replace=False)
        labels = examined.labels.copy()
        labels[exchanged] ^= 1
        found = suspects.find(known, labels)
        right += len({suspect.index for suspect in found} & set(exchanged.tolist()))
        wrong += len({suspect.index for suspect in found} - set(exchanged.tolist()))
        assert all(suspect.label == labels[suspect.index] != suspect.likely for suspect in found)
        assert [s.own - s.other for s in found] == sorted(s.own - s.other for s in found)
        assert all(suspect.other > suspect.own for suspect in found)
    assert right >= 26 and wrong <= 8, (right, wrong)


def test_each_photograph_is_judged_by_the_others_alone() -> None:
    """The shortcut for all n is the same as n fits without one each."""
    random = numpy.random.default_rng(0)
    rows = random.normal(size=(30, 5)).astype(numpy.float32)
    labels = (rows[:, 0] + random.normal(size=30) > 0).astype(int)
    rows = sketch.of(rows)
    held_out = suspects.held_out(rows, labels)
    changed = labels.copy()
    changed[7] ^= 1
    assert (held_out.argmax(1) == labels).mean() > 0.6
    # What its own label is has next to no say: only the class shares, the decay and the sharpness know of it.
    assert suspects.held_out(rows, changed)[7, 1] == pytest.approx(held_out[7, 1], abs=0.12)


def test_the_confident_joint_is_that_of_the_paper() -> None:
    """Class 0 is usual from 0.9 and 0.2 on the mean 0.55; photograph 2 reaches the usual of class 1, 3 does not."""
    probabilities = numpy.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.45, 0.55], [0.3, 0.7]])
    found = suspects.confident(probabilities, numpy.array([0, 0, 1, 1, 1]))
    assert [(s.index, s.label, s.likely) for s in found] == [(1, 0, 1)]
    assert (found[0].own, found[0].other) == (0.2, 0.8)


def test_one_class_or_nothing_has_no_suspects() -> None:
    assert suspects.find(numpy.zeros((0, 4), dtype=numpy.float32), numpy.zeros(0, dtype=int)) == []
    assert suspects.find(numpy.ones((3, 4), dtype=numpy.float32), numpy.zeros(3, dtype=int)) == []


def test_the_sketch_keeps_distances_and_drops_what_says_nothing() -> None:
    rows = numpy.random.default_rng(0).normal(3, 2, (200, 2000)).astype(numpy.float32)
    rows[:, 5] = 7
    found = sketch.of(rows)
    assert found.shape == (200, sketch.WIDTH) and numpy.isfinite(found).all()
    whole = numpy.delete((rows - rows.mean(0)) / rows.std(0).clip(1e-3), 5, axis=1)
    far, near = (numpy.linalg.norm(m[:100] - m[100:], axis=1) for m in (whole, found))
    assert numpy.abs(near / far - 1).max() < 0.15
    assert (sketch.of(rows) == found).all()
