"""Logistic regression: the weighted cross entropy of a linear head, and its gradient by hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK_BYTES = 4 << 20
"""So much of the features is read from memory once, for the logits, and found in the cache again for the gradient."""
_WIDE = 512
"""Rows at once that are copied as double."""


@dataclass(frozen=True)
class Problem:
    """Weighted cross entropy of a linear head on standardized features.

    The features stay as they are, in float32 and uncopied: their standardization is a change of the parameters. What
    is small (parameters, logits, losses, sums over blocks) is double. The parameters are one vector (classes * width
    + classes), double: the weight for standardized features, then the bias.
    """

    rows: Tensor
    """(n, width), float32."""
    labels: Tensor
    """(n)."""
    mean: Tensor
    spread: Tensor
    """(width), double."""
    weights: Tensor
    """(classes), double: what one photograph of each class weighs."""

    @classmethod
    def of(cls, rows: Tensor, labels: Tensor, classes: int, balanced: bool) -> Problem:
        counts = torch.bincount(labels, minlength=classes).double().clamp(min=1)
        weights = len(labels) / (classes * counts) if balanced else torch.ones_like(counts)
        return cls(rows, labels, *_statistics(rows), weights)

    def folded(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """The weight (classes, width) and the bias (classes) for the features as they are."""
        weight, bias = self.parts(point)
        scaled = weight / self.spread
        return scaled, bias - scaled @ self.mean

    def point(self, weight: Tensor, bias: Tensor) -> Tensor:
        """The reverse of `folded`."""
        return torch.cat([(weight * self.spread).reshape(-1), bias + weight @ self.mean])

    def origin(self) -> Tensor:
        """The parameters of a head that gives every class the same."""
        size = len(self.weights) * (len(self.mean) + 1)
        return torch.zeros(size, dtype=torch.double, device=self.mean.device)

    def parts(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """The weight (classes, width) and the bias (classes) of a `point`, as views."""
        classes, width = len(self.weights), len(self.mean)
        return point[: classes * width].view(classes, width), point[classes * width :]

    def loss(self, point: Tensor, decay: float) -> tuple[Tensor, Tensor]:
        """The mean loss plus decay / 2 times the square of the weight, and the gradient, as `point`."""
        weight, bias = self.parts(point)
        short = (weight / self.spread).float()
        # The mean is taken off as exactly as it was multiplied in.
        offset = bias - short.double() @ self.mean
        loss, ahead, back = torch.zeros_like(offset[0]), torch.zeros_like(weight), torch.zeros_like(offset)
        size = max(1, _BLOCK_BYTES // (4 * len(self.mean)))
        for rows, labels in zip(torch.split(self.rows, size), torch.split(self.labels, size), strict=True):
            # Not `rows @ short.T`: that is several times slower for a few classes.
            logits = functional.linear(rows, short).double() + offset
            share, residual = self._residual(logits, labels)
            loss += share
            ahead += residual.float().T @ rows
            back += residual.sum(0)
        slope = (ahead - torch.outer(back, self.mean)) / self.spread / self._total + decay * weight
        loss = loss / self._total + decay / 2 * weight.square().sum()
        return loss, torch.cat([slope.reshape(-1), back / self._total])

    def slope(self, batch: Tensor, point: Tensor) -> Tensor:
        """The gradient of the mean loss of the rows numbered in `batch` (m), all in double, as `point`."""
        weight, bias = self.parts(point)
        inputs, labels = (self.rows[batch] - self.mean) / self.spread, self.labels[batch]
        residual = self._residual(inputs @ weight.T + bias, labels)[1] / self.weights[labels].sum()
        return torch.cat([(residual.T @ inputs).reshape(-1), residual.sum(0)])

    @property
    def _total(self) -> Tensor:
        return self.weights[self.labels].sum()

    def _residual(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The summed loss of logits (m, classes), and its derivative by them."""
        logs = functional.log_softmax(logits, 1)
        each = self.weights[labels][:, None]
        loss = -(each * logs.gather(1, labels[:, None])).sum()
        return loss, each * (logs.exp() - functional.one_hot(labels, len(self.weights)))


def _statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread (width) in double, block by block."""
    blocks = torch.split(rows, _WIDE)
    mean = sum((block.double().sum(0) for block in blocks), torch.zeros_like(rows[0]).double()) / len(rows)
    squares = sum(((block - mean).square().sum(0) for block in blocks), torch.zeros_like(mean))
    return mean, (squares / len(rows)).sqrt() + 1e-6
