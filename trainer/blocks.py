"""The blocks of the small networks that are defined here, on torch alone: importing torchvision takes seconds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Convolution = Callable[..., nn.Conv2d]


class InvertedResidual(nn.Module):
    """Wide in the middle, narrow at both ends, which are added where they have the same shape.

    `layers` are the submodule `inside`, so that their names are those of the published weights.
    """

    def __init__(self, layers: nn.Module, *, inside: str, adds: bool, drop: float = 0.0) -> None:
        super().__init__()
        self.add_module(inside, layers)
        self._inside, self._adds, self._drop = inside, adds, drop

    def forward(self, inputs: Tensor) -> Tensor:
        found = self._modules[self._inside](inputs)  # type: ignore[misc]
        if not self._adds:
            return found  # type: ignore[no-any-return]
        if self.training and self._drop:
            # Stochastic depth: of a part of the photographs the block is left out.
            kept = torch.empty(len(found), 1, 1, 1, dtype=found.dtype, device=found.device)
            found = found * kept.bernoulli_(1 - self._drop).div_(1 - self._drop)
        return found + inputs  # type: ignore[no-any-return]


def convolution(
    inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, made: Convolution = nn.Conv2d
) -> nn.Conv2d:
    """Without bias (a norm follows) and padded so that stride 1 keeps the size; `made` is its class."""
    return made(inputs, outputs, kernel, stride=stride, padding=(kernel - 1) // 2, groups=groups, bias=False)


def activated(first: nn.Conv2d, eps: float) -> nn.Sequential:
    """The convolution, its norm and ReLU6."""
    return nn.Sequential(first, nn.BatchNorm2d(first.out_channels, eps=eps), nn.ReLU6(inplace=True))
