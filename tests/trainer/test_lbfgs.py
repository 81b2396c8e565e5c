"""The solvers against the textbook's conditions and against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainer import lbfgs
from trainer.adam import RATE, Adam
from trainer.linesearch import CURVATURE, DECREASE, Function, Line, Step
from trainer.regression import Problem

DECAY = 0.01


def quadratic(seed: int, width: int = 30) -> tuple[Function, Tensor]:
    """A convex one whose curvatures are from 0.1 to 10, and where it is least."""
    random = torch.Generator().manual_seed(seed)
    turned, _ = torch.linalg.qr(torch.randn(width, width, generator=random, dtype=torch.double))
    curvatures = turned @ torch.diag(torch.logspace(-1, 1, width, dtype=torch.double)) @ turned.T
    least = torch.randn(width, generator=random, dtype=torch.double)

    def function(point: Tensor) -> tuple[Tensor, Tensor]:
        slope = curvatures @ (point - least)
        return (point - least) @ slope / 2 + 1, slope

    return function, least


def problem(seed: int, classes: int, *, balanced: bool = False, n: int = 400, width: int = 12) -> Problem:
    """Classes that overlap, on features far from 0 and of different spreads."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=random)
    rows = torch.randn(n, width, generator=random) + torch.eye(classes, width)[labels]
    return Problem.of(rows * torch.linspace(0.1, 5, width) + 3, labels, classes, balanced)


def anywhere(of: Problem, seed: int) -> Tensor:
    return torch.randn(len(of.origin()), generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def textbook(of: Problem, point: Tensor, decay: float) -> Tensor:
    """The loss, in double all through, for autograd."""
    weight, bias = of.parts(point)
    logits = (of.rows.double() - of.mean) / of.spread @ weight.T + bias
    return functional.cross_entropy(logits, of.labels, of.weights) + decay / 2 * weight.square().sum()


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("classes", [2, 7])
def test_the_gradient_by_hand_is_that_of_autograd(
    classes: int, balanced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.regression._BLOCK_BYTES", 4 * 12 * 37)  # 37 rows: the last block is a smaller one.
    of = problem(0, classes, balanced=balanced)
    point = anywhere(of, 1).requires_grad_()
    expected = textbook(of, point, DECAY)
    (slope,) = torch.autograd.grad(expected, point)
    loss, found = of.loss(point.detach(), DECAY)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(found, slope, rtol=1e-5, atol=1e-6)
    (plain,) = torch.autograd.grad(textbook(of, point, 0.0), point)
    assert torch.allclose(of.slope(torch.arange(len(of.rows)), point.detach()), plain, rtol=1e-9, atol=1e-12)


def test_parameters_fold_and_unfold() -> None:
    of = problem(0, 3)
    point = anywhere(of, 1)
    assert torch.allclose(of.point(*of.folded(point)), point)


def searched(function: Function, start: Tensor, length: float) -> tuple[Step, Step]:
    """Where a search along the steepest descent begins and where it ends."""
    loss, gradient = function(start)
    begin = Step(0.0, float(loss), float(-gradient @ gradient), start, gradient)
    return begin, Line(function, begin, -gradient).search(length)


@pytest.mark.parametrize("length", [1e-6, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("seed", range(5))
def test_a_line_search_ends_in_the_strong_wolfe_conditions(seed: int, length: float) -> None:
    """However wrong the first trial is."""
    of = problem(seed, 3)
    for function, start in (
        (quadratic(seed)[0], torch.zeros(30, dtype=torch.double)),
        (lambda point: of.loss(point, DECAY), anywhere(of, seed)),
    ):
        begin, end = searched(function, start, length)
        loss, gradient = function(end.point)
        assert end.length > 0
        assert torch.allclose(end.point, start - end.length * begin.gradient)
        assert float(loss) <= begin.loss + DECREASE * end.length * begin.slope
        assert abs(float(-gradient @ begin.gradient)) <= CURVATURE * abs(begin.slope)
        assert torch.equal(end.gradient, gradient)


@pytest.mark.parametrize("strange", [math.nan, math.inf])
def test_a_line_search_comes_back_from_where_nothing_is_finite(strange: float) -> None:
    function, _ = quadratic(0)

    def walled(point: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = function(point)
        return (loss, gradient) if point.norm() < 20 else (loss * strange, gradient * strange)

    begin, end = searched(walled, torch.zeros(30, dtype=torch.double), 1e6)
    assert end.loss < begin.loss


@pytest.mark.parametrize("seed", range(5))
def test_the_least_of_a_quadratic_is_found(seed: int) -> None:
    function, least = quadratic(seed)
    found = lbfgs.minimize(function, torch.zeros_like(least), tolerance=1e-9)
    assert found.converged
    assert float(found.gradient.abs().max()) <= 1e-9
    assert torch.allclose(found.point, least, atol=1e-6)
    assert found.evaluations < 2 * found.steps


@pytest.mark.parametrize("decay", [1.0, 0.003])
@pytest.mark.parametrize("classes", [2, 7])
def test_it_ends_where_torch_does(classes: int, decay: float) -> None:
    of = problem(3, classes, balanced=True)
    found = lbfgs.minimize(lambda point: of.loss(point, decay), of.origin())
    assert found.converged
    peer = of.origin().requires_grad_()
    solver = torch.optim.LBFGS(
        [peer], max_iter=1000, tolerance_grad=1e-10, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = textbook(of, peer, decay)
        torch.autograd.backward(loss)
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    assert float(textbook(of, found.point, decay)) == pytest.approx(closure().item(), abs=1e-9)
    # The biases may all be moved alike: heads are compared by what they answer.
    ours, theirs = (functional.softmax(of.rows.double() @ w.T + b, 1) for w, b in map(of.folded, (found.point, peer)))
    assert torch.allclose(ours, theirs, atol=2e-4)
    (slope,) = torch.autograd.grad(textbook(of, point := found.point.clone().requires_grad_(), decay), point)
    assert float(slope.abs().max()) < 2e-6


def test_the_same_is_found_to_the_bit() -> None:
    of = problem(4, 5)
    first, second = (lbfgs.minimize(lambda point: of.loss(point, DECAY), of.origin()) for _ in range(2))
    assert torch.equal(first.point, second.point)
    assert (first.loss, first.steps, first.evaluations) == (second.loss, second.steps, second.evaluations)


def test_it_says_when_it_has_not_converged() -> None:
    function, least = quadratic(0)
    short = lbfgs.minimize(function, torch.zeros_like(least), steps=3)
    assert (short.steps, short.converged) == (3, False)
    # In float32, the gradient cannot be as small as this.
    of = problem(0, 3)
    deaf = lbfgs.minimize(lambda point: of.loss(point, DECAY), of.origin(), tolerance=1e-14)
    assert not deaf.converged
    assert deaf.steps < 200
    assert float(deaf.gradient.abs().max()) < 1e-5
    there = lbfgs.minimize(function, least)
    assert (there.steps, there.evaluations, there.converged) == (0, 1, True)


def test_adam_steps_as_torch_does() -> None:
    random = torch.Generator().manual_seed(0)
    gradients = torch.randn(50, 40, generator=random, dtype=torch.double)
    peer = torch.zeros(40, dtype=torch.double, requires_grad=True)
    solver = torch.optim.Adam([peer], lr=RATE)
    ours = Adam.at(torch.zeros(40, dtype=torch.double))
    for number, gradient in enumerate(gradients):
        if number == 20:
            ours = Adam.of({name: tensor.clone() for name, tensor in ours.state().items()}, torch.device("cpu"))
        ours.step(gradient)
        peer.grad = gradient.clone()
        solver.step()
        assert torch.allclose(ours.point, peer.detach(), rtol=1e-12, atol=1e-15)
