"""How far to go along a direction: a line search that ends in the strong Wolfe conditions.

Nocedal and Wright, Numerical Optimization, second edition (2006): algorithms 3.5 and 3.6, formula 3.59.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Function = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A point (n), double, to the loss there, (), and its gradient (n), both double and new tensors."""

NOISE = 1e-7
"""Differences of the loss that are smaller, as a share of it, mean nothing: float32 is inside."""
DECREASE = 1e-4
CURVATURE = 0.9
"""The constants c1 and c2 of the Wolfe conditions."""
_TRIALS = 25
_GROWTH = 2.0, 10.0
"""How much longer the next trial is, at least and at most, while the loss falls nearly as steeply as at the start."""
_EDGE = 0.1
"""A trial in an interval keeps this share of it away from both ends."""


@dataclass(frozen=True)
class Step:
    """Where a line search has been: `length` along the direction, and what was found there."""

    length: float
    loss: float
    slope: float
    """The derivative of the loss by the length."""
    point: Tensor
    gradient: Tensor


class Line:
    """The function along one direction (n) from one point."""

    def __init__(self, function: Function, start: Step, direction: Tensor) -> None:
        """`start` has the length 0 and the slope along `direction`, which is below 0."""
        self._function, self._start, self._direction = function, start, direction
        self.trials = 0

    def search(self, length: float) -> Step:
        """A step that satisfies the strong Wolfe conditions (algorithm 3.5); `length` is tried first.

        After 25 trials, or where rounding hides what the function does, the lowest one that was seen.
        """
        before = self._start
        while self.trials < _TRIALS:
            step = self._at(length)
            if not self._decreases(step) or (self.trials > 1 and _rise(before, step) >= 0):
                return self._zoom(before, step)
            if self._flat(step):
                return step
            if step.slope >= 0:
                return self._zoom(step, before)
            length = min(max(_cubic(before, step), _GROWTH[0] * length), _GROWTH[1] * length)
            before = step
        return before

    def _zoom(self, low: Step, high: Step) -> Step:
        """Algorithm 3.6: `low` is the lowest that decreases the loss enough, and falls towards `high`."""
        while self.trials < _TRIALS and high.length != low.length:
            width = abs(high.length - low.length)
            left = min(low.length, high.length)
            step = self._at(min(max(_cubic(low, high), left + _EDGE * width), left + (1 - _EDGE) * width))
            if not self._decreases(step) or _rise(low, step) >= 0:
                high = step
                continue
            if self._flat(step):
                return step
            if step.slope * (high.length - low.length) >= 0:
                high = low
            low = step
        return low

    def _at(self, length: float) -> Step:
        self.trials += 1
        point = torch.add(self._start.point, self._direction, alpha=length)
        loss, gradient = self._function(point)
        return Step(length, float(loss), float(gradient @ self._direction), point, gradient)

    def _decreases(self, step: Step) -> bool:
        return _rise(self._start, step) <= DECREASE * step.length * self._start.slope

    def _flat(self, step: Step) -> bool:
        return abs(step.slope) <= -CURVATURE * self._start.slope


def _rise(one: Step, other: Step) -> float:
    """How much greater the loss of `other` is: where that is lost in rounding, from the slopes.

    Of a quadratic, the same. The idea is that of the approximate Wolfe conditions: Hager and Zhang, A new conjugate
    gradient method with guaranteed descent and an efficient line search, SIAM J. Optim. 16 (2005), section 4.
    """
    rise = other.loss - one.loss
    if abs(rise) > NOISE * abs(one.loss):
        return rise
    return (one.slope + other.slope) / 2 * (other.length - one.length)


def _cubic(one: Step, other: Step) -> float:
    """Where the cubic through both, with their slopes, is least (3.59); half-way where it has no minimum."""
    first = one.slope + other.slope - 3 * _rise(one, other) / (other.length - one.length)
    square = first**2 - one.slope * other.slope
    if not 0 <= square < math.inf:
        return (one.length + other.length) / 2
    second = math.copysign(math.sqrt(square), other.length - one.length)
    below = other.slope - one.slope + 2 * second
    share = (other.slope + second - first) / below if below else 0.5
    return other.length - (other.length - one.length) * share
