from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.calibration import Calibration, wilson
from trainer.probabilities import Array, clip, log_loss, softmax

Drawn = tuple[Array, Array]


@st.composite
def answers(draw: st.DrawFn, least: int = 1, most: int = 40) -> Drawn:
    """Logits and labels of a network that is right more often than not, and as sure of it as `scale` says."""
    random = numpy.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes, n = draw(st.integers(2, 6)), draw(st.integers(least, most))
    labels = random.integers(0, classes, n)
    logits = random.normal(size=(n, classes)) + draw(st.floats(0, 5)) * numpy.eye(classes)[labels]
    return logits * draw(st.floats(0.05, 200)), labels


@given(answers())
@settings(max_examples=40, deadline=None)
def test_what_it_states_is_sane_however_few_the_photographs(drawn: Drawn) -> None:
    logits, labels = drawn
    chosen = Calibration.chosen(logits, labels)
    rows, floor = chosen.probabilities(logits), chosen.edge * (1 - 1e-9)
    assert numpy.allclose(rows.sum(axis=1), 1)
    assert rows.min() >= floor and (1 - rows).min() >= floor
    assert chosen.edge >= min(chosen.margin, 0.02) * 2 / logits.shape[1] * (1 - 1e-9)
    assert chosen.calibrated.value <= chosen.raw.value * (1 + 1e-9) + 1e-9
    assert chosen.clipped.value <= -math.log(1e-4 * 2 / logits.shape[1]) + 1e-9
    assert chosen.shifted >= chosen.clipped.value - 1e-9
    for estimate in (chosen.accuracy, chosen.raw, chosen.calibrated, chosen.clipped):
        assert 0 <= estimate.low <= estimate.value <= estimate.high < math.inf


@given(answers(least=2), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_neither_the_order_of_photographs_nor_that_of_classes_matters(drawn: Drawn, seed: int) -> None:
    logits, labels = drawn
    random = numpy.random.default_rng(seed)
    photographs, classes = random.permutation(len(labels)), random.permutation(logits.shape[1])
    there = Calibration.chosen(logits[photographs][:, classes], numpy.argsort(classes)[labels[photographs]])
    here = Calibration.chosen(logits, labels)
    assert (there.temperature, there.edge) == (here.temperature, here.edge)
    assert _figures(there.document()) == pytest.approx(_figures(here.document()), rel=1e-9, abs=1e-12)


def _figures(document: dict[str, Any]) -> list[float]:
    values = [_figures(each) if isinstance(each, dict) else [each] for each in document.values()]
    return [figure for some in values for figure in some]


@pytest.mark.parametrize("sure", [1.0, 1000.0])
@pytest.mark.parametrize("right", [True, False])
def test_two_photographs_of_which_each_is_the_only_one_of_its_class(sure: float, right: bool) -> None:
    labels = numpy.array([0, 1])
    logits = sure * numpy.eye(2)[labels if right else 1 - labels]
    chosen = Calibration.chosen(logits, labels)
    assert chosen.folds == 2
    assert chosen.accuracy.value == float(right)
    assert chosen.accuracy.high - chosen.accuracy.low > 0.6
    assert chosen.edge == pytest.approx(0.02)


def test_a_network_that_is_too_sure_is_cooled_and_one_that_is_not_is_left() -> None:
    random = numpy.random.default_rng(0)
    honest = random.normal(size=(4000, 3)) * 2
    labels = numpy.array([random.choice(3, p=row) for row in softmax(honest)])
    assert Calibration.chosen(honest, labels).temperature == pytest.approx(1, abs=0.1)
    cooled = Calibration.chosen(honest * 3, labels)
    assert cooled.temperature == pytest.approx(3, abs=0.3)
    assert cooled.calibrated.value < cooled.raw.value - 0.1


def test_the_more_photographs_the_smaller_the_margin() -> None:
    labels = numpy.arange(2000) % 2
    logits = 30.0 * numpy.eye(2)[labels]
    edges = [Calibration.chosen(logits[:n], labels[:n]).edge for n in (10, 160, 2000)]
    assert edges == sorted(edges, reverse=True)
    assert edges[0] == pytest.approx(0.02) and 0.001 < edges[1] < 0.006 and edges[2] < 0.0006


@pytest.mark.parametrize(("n", "mistaken"), [(80, 0.02), (400, 0.1)])
def test_intervals_contain_the_truth_about_as_often_as_they_say(n: int, mistaken: float) -> None:
    """Against a population of 20,000 in which a share is answered wrong, some of it surely."""
    random = numpy.random.default_rng(1)
    size, held, rounds = 20_000, numpy.zeros(2), 50
    labels = random.integers(0, 2, size)
    guessed = numpy.where(random.random(size) < mistaken, 1 - labels, labels)
    logits = numpy.eye(2)[guessed] * random.gamma(4, 1.5, (size, 1))
    accuracy = (guessed == labels).mean()
    for _ in range(rounds):
        seen = random.choice(size, n, replace=False)
        chosen = Calibration.chosen(logits[seen], labels[seen])
        truth = log_loss(chosen.probabilities(logits), labels)
        held += (
            chosen.clipped.low <= truth <= chosen.clipped.high,
            chosen.accuracy.low <= accuracy <= chosen.accuracy.high,
        )
    assert (held / rounds >= 0.87).all(), held / rounds


def test_wilsons_interval_is_the_published_one() -> None:
    # R. G. Newcombe, Two-sided confidence intervals for the single proportion (1998), table I.
    assert [round(wilson(*case).low, 4) for case in ((81, 263), (15, 148), (0, 20), (1, 29))] == [
        0.2553, 0.0624, 0.0, 0.0061,
    ]  # fmt: skip
    assert [round(wilson(*case).high, 4) for case in ((81, 263), (15, 148), (0, 20), (1, 29))] == [
        0.3662, 0.1605, 0.1611, 0.1718,
    ]  # fmt: skip


@given(answers(), st.floats(1e-4, 0.1))
@settings(max_examples=40, deadline=None)
def test_clipped_probabilities_are_probabilities(drawn: Drawn, edge: float) -> None:
    clipped = clip(softmax(drawn[0]), edge)
    assert clipped.min() >= edge * 0.999
    assert numpy.allclose(clipped.sum(axis=1), 1)
