"""The rate and the momentum of a training: one cycle, up and down again, each step computed from its number alone.

Smith, "Super-Convergence" (arXiv:1708.07120), in the shape that fastai gives it: cosines instead of straight lines,
and the numbers of its `fine_tune` after unfreezing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_RISE = 0.3
_FIRST = 1 / 5
_LAST = 1e-5
_MOMENTA = (0.95, 0.85, 0.95)


@dataclass(frozen=True)
class OneCycle:
    """A training of `steps` steps, counted from 0."""

    steps: int

    def rate(self, step: int) -> float:
        """The share of the highest rate: from 1/5 up to 1 in the first 30 % of the steps, then down to 1e-5."""
        return self._along(step, (_FIRST, 1.0, _LAST))

    def momentum(self, step: int) -> float:
        """The mirror image of the rate: 0.95, 0.85, 0.95."""
        return self._along(step, _MOMENTA)

    def _along(self, step: int, values: tuple[float, float, float]) -> float:
        done = step / max(self.steps - 1, 1)
        if done < _RISE:
            return _cosine(values[0], values[1], done / _RISE)
        return _cosine(values[1], values[2], min((done - _RISE) / (1 - _RISE), 1.0))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
