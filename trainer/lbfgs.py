"""L-BFGS: the minimum of a smooth function of one vector.

Nocedal and Wright, Numerical Optimization, second edition (2006): algorithms 7.4 (the two loops) and 7.5.
`torch.optim` has it too, but imports all of torch's compiler with it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from torch import Tensor

from .linesearch import NOISE, Function, Line, Step

GRADIENT = 1e-6
"""Converged: no component of the gradient is larger."""
_PAIRS = 10
_PATIENCE = 20


@dataclass(frozen=True)
class Minimum:
    """Where `minimize` has ended."""

    point: Tensor
    loss: float
    gradient: Tensor
    steps: int
    evaluations: int
    converged: bool
    """The gradient is as small as was asked; otherwise rounding hides what is left, or the steps were used up."""


def minimize(function: Function, start: Tensor, *, tolerance: float = GRADIENT, steps: int = 500) -> Minimum:
    """The minimum of a convex `function`, looked for from `start` (n), double, on any device; the same bits each time.

    It ends when no component of the gradient is larger than `tolerance`; when 20 steps, or a line search, have lowered
    neither that nor, by more than rounding, the loss; or after so many `steps`.
    """
    loss, gradient = function(start)
    here, evaluations, done = Step(0.0, float(loss), 0.0, start, gradient), 1, 0
    least, lowest, since = float("inf"), here.loss, 0
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=_PAIRS)
    while (size := float(here.gradient.abs().max())) > tolerance and done < steps:
        if size < least or here.loss < lowest - NOISE * abs(lowest):
            least, lowest, since = min(size, least), min(here.loss, lowest), done
        direction = -_times_inverse_hessian(here.gradient, pairs)
        begin = Step(0.0, here.loss, float(here.gradient @ direction), here.point, here.gradient)
        line = Line(function, begin, direction)
        # Nothing is known of the curvature yet: the first step moves by a length of 1 at most.
        found = line.search(1.0 if pairs else min(1.0, 1.0 / float(gradient.norm())))
        evaluations += line.trials
        if found.length == 0 or done - since >= _PATIENCE:
            break
        if (change := found.gradient - here.gradient) @ (moved := found.point - here.point) > 0:
            pairs.append((moved, change))
        here, done = found, done + 1
    return Minimum(here.point, here.loss, here.gradient, done, evaluations, size <= tolerance)


def _times_inverse_hessian(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor]]) -> Tensor:
    """Algorithm 7.4; of each of the `pairs`, oldest first: how the point has moved, how the gradient has changed."""
    result, shares = gradient.clone(), []
    for moved, change in reversed(pairs):
        shares.append((moved @ result) / (moved @ change))
        result -= shares[-1] * change
    if pairs:
        moved, change = pairs[-1]
        result *= (moved @ change) / (change @ change)
    for (moved, change), share in zip(pairs, reversed(shares), strict=True):
        result += (share - (change @ result) / (moved @ change)) * moved
    return result
