from __future__ import annotations

import csv
import io

import numpy
from hypothesis import given
from hypothesis import strategies as st

from trainer import calibration, fit, probabilities, submission


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(0.1, 30))
def test_the_temperature_never_raises_the_log_loss(seed: int, classes: int, scale: float) -> None:
    random = numpy.random.default_rng(seed)
    logits, labels = random.normal(size=(30, classes)) * scale, random.integers(0, classes, 30)
    warmth = calibration.choose_temperature(logits, labels)
    raw = probabilities.log_loss(probabilities.softmax(logits), labels)
    assert probabilities.log_loss(probabilities.softmax(logits / warmth), labels) <= raw


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.floats(1e-4, 0.1))
def test_clipped_probabilities_are_probabilities(seed: int, classes: int, edge: float) -> None:
    sure = probabilities.softmax(numpy.random.default_rng(seed).normal(size=(9, classes)) * 100)
    clipped = probabilities.clip(sure, edge)
    assert clipped.min() >= edge * 0.999
    assert numpy.allclose(clipped.sum(axis=1), 1)


def test_both_ways_of_fitting_separate_what_is_apart() -> None:
    random = numpy.random.default_rng(0)
    labels = numpy.arange(60) % 3
    rows = (random.normal(size=(60, 12)) + 12 * numpy.eye(12)[labels]).astype(numpy.float32)
    part = fit.Part.of(rows, labels)
    told: list[dict[str, float]] = []
    heads = [fit.converged(part, part, classes=3, tell=told.append)]
    heads.append(fit.in_epochs(part, part, fit.Passes(3, 300, 0), tell=told.append))
    assert len(told) == len(fit.DECAYS) + 300
    assert all((head.logits(part.rows).argmax(1) == part.labels).all() for head in heads)


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1, max_size=30))
def test_every_id_is_submitted_once_in_numeric_order(numbers: list[int]) -> None:
    rows = [[0.25, 0.75] for _ in numbers]
    lines = list(csv.reader(io.StringIO(submission.table(("cat", "dog"), [str(n) for n in numbers], rows).decode())))
    assert lines == [["id", "label"], *([str(number), "0.750000"] for number in sorted(numbers))]


def test_more_classes_have_a_column_each() -> None:
    text = submission.table(("a", "b, c", "d"), ["x"], [[0.2, 0.3, 0.5]]).decode()
    assert text == 'id,a,"b, c",d\nx,0.200000,0.300000,0.500000\n'
