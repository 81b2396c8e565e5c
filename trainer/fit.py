"""The head: logistic regression on frozen features, to convergence or in a given number of passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional

DECAYS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_TEMPERATURES = numpy.geomspace(1.0, 4.0, 41)
_BATCH = 64
Array = numpy.ndarray[Any, numpy.dtype[Any]]
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Part:
    """Features (n, width) and labels (n) as tensors on one device."""

    rows: Tensor
    labels: Tensor

    @classmethod
    def of(cls, rows: Array, labels: Array) -> Part:
        return cls(torch.from_numpy(rows).double(), torch.from_numpy(labels).long())


@dataclass(frozen=True)
class Head:
    """`rows @ weight.T + bias` are the logits of the classes; the standardization of the features is folded in."""

    weight: Tensor
    bias: Tensor
    decay: float

    def logits(self, rows: Tensor) -> Tensor:
        return rows.double() @ self.weight.T + self.bias

    def module(self) -> nn.Linear:
        linear = nn.Linear(self.weight.shape[1], self.weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(self.weight)
            linear.bias.copy_(self.bias)
        return linear.requires_grad_(False)


def converged(train: Part, valid: Part, classes: int, tell: Tell) -> Head:
    """L-BFGS to convergence for each weight decay; the one with the least doubted loss on `valid` is taken."""
    candidates = []
    for step, decay in enumerate(DECAYS, 1):
        head = _solve(train, classes, decay)
        scores = _scores(head, train, valid)
        tell({"epoch": step, "epochs": len(DECAYS), "weight_decay": decay, **scores})
        candidates.append((doubted_loss(softmax(head.logits(valid.rows).numpy()), valid.labels.numpy()), head))
    return min(candidates, key=lambda pair: pair[0])[1]


def in_epochs(train: Part, valid: Part, *, classes: int, epochs: int, seed: int, tell: Tell) -> Head:
    """Adam, `epochs` passes over shuffled batches of 64, `tell` hears of each."""
    mean, spread = _statistics(train.rows)
    inputs = (train.rows - mean) / spread
    order = torch.Generator().manual_seed(seed)
    weight = torch.zeros(classes, inputs.shape[1], dtype=torch.double, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=1e-3)
    head = Head(weight.detach(), bias.detach(), 0.0)
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(len(inputs), generator=order).split(_BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(inputs[batch] @ weight.T + bias, train.labels[batch]).backward()
            optimizer.step()
        head = _unstandardized(weight, bias, (mean, spread), 0.0)
        tell({"epoch": epoch, "epochs": epochs, **_scores(head, train, valid)})
    return head


def temperature(logits: Array, labels: Array) -> float:
    """The divisor (1 to 4) of the logits with the least log loss; 1 unless another is better: it never does harm."""
    losses = [(log_loss(softmax(logits / t), labels), abs(float(numpy.log(t))), float(t)) for t in _TEMPERATURES]
    best = min(losses)
    return best[2] if best[0] < log_loss(softmax(logits), labels) else 1.0


def softmax(logits: Array) -> Array:
    """Probabilities (n, classes) of logits (n, classes)."""
    shifted = numpy.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def clip(probabilities: Array, edge: float) -> Array:
    """No probability nearer to 0 or 1 than `edge`, rows still summing to 1: a sure mistake must not cost all."""
    classes = probabilities.shape[1]
    return probabilities * (1 - classes * edge) + edge  # type: ignore[no-any-return]


def doubted_loss(probabilities: Array, labels: Array) -> float:
    """The log loss if half a photograph of these were labelled wrong.

    A few validation photographs without a mistake do not prove that there are none: by the plain log loss the surest
    model would be chosen, and one sure mistake among the test photographs costs more than all that this gains.
    """
    doubt = 0.5 / len(labels)
    logs = numpy.log(numpy.maximum(probabilities, 1e-15))
    chosen = logs[numpy.arange(len(labels)), labels]
    others = (logs.sum(axis=1) - chosen) / (logs.shape[1] - 1)
    return float(-((1 - doubt) * chosen + doubt * others).mean())


def log_loss(probabilities: Array, labels: Array) -> float:
    """Mean of -log of what the true class was given, in nats."""
    chosen = probabilities[numpy.arange(len(labels)), labels]
    return float(-numpy.log(numpy.maximum(chosen, 1e-15)).mean())


def _solve(train: Part, classes: int, decay: float) -> Head:
    mean, spread = _statistics(train.rows)
    inputs = (train.rows - mean) / spread
    weight = torch.zeros(classes, inputs.shape[1], dtype=torch.double, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, history_size=10, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(inputs @ weight.T + bias, train.labels) + decay / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return _unstandardized(weight, bias, (mean, spread), decay)


def _statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows.mean(0), rows.std(0, unbiased=False) + 1e-6


def _unstandardized(weight: Tensor, bias: Tensor, statistics: tuple[Tensor, Tensor], decay: float) -> Head:
    mean, spread = statistics
    scaled = weight.detach() / spread
    return Head(scaled, bias.detach() - scaled @ mean, decay)


def _scores(head: Head, train: Part, valid: Part) -> dict[str, float]:
    scores = {}
    for prefix, part in (("", train), ("val_", valid)):
        logits = head.logits(part.rows)
        scores[f"{prefix}loss"] = float(functional.cross_entropy(logits, part.labels))
        scores[f"{prefix}acc"] = float((logits.argmax(1) == part.labels).double().mean())
    return scores
