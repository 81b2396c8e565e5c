"""Adam: Kingma and Ba, Adam: A Method for Stochastic Optimization (2015), algorithm 1, arXiv:1412.6980.

Rounded as `torch.optim.Adam` does, which imports all of torch's compiler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

RATE = 2e-3
"""Twice torch's: of the rates tried on real features, the best after one pass and no worse after five."""
_MEANS, _SQUARES = 0.9, 0.999
_EPSILON = 1e-8


@dataclass
class Adam:
    """`point` (n), changed in place, with the running means (n) of its gradients and of their squares."""

    point: Tensor
    mean: Tensor
    square: Tensor
    steps: int = 0
    rate: float = RATE

    @classmethod
    def at(cls, point: Tensor) -> Adam:
        return cls(point, torch.zeros_like(point), torch.zeros_like(point))

    @classmethod
    def of(cls, state: Mapping[str, Tensor], device: torch.device) -> Adam:
        """What `state` was taken of."""
        point, mean, square = (state[f"adam.{name}"].to(device) for name in ("point", "mean", "square"))
        return cls(point, mean, square, int(state["adam.steps"]))

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on."""
        vectors = {"point": self.point, "mean": self.mean, "square": self.square, "steps": torch.tensor(self.steps)}
        return {f"adam.{name}": vector for name, vector in vectors.items()}

    def step(self, gradient: Tensor) -> None:
        self.steps += 1
        self.mean.lerp_(gradient, 1 - _MEANS)
        self.square.mul_(_SQUARES).addcmul_(gradient, gradient, value=1 - _SQUARES)
        root = (self.square.sqrt() / (1 - _SQUARES**self.steps) ** 0.5).add_(_EPSILON)
        self.point.addcdiv_(self.mean, root, value=-self.rate / (1 - _MEANS**self.steps))
