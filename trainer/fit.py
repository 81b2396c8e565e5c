"""The head: logistic regression on frozen features, to convergence or in a given number of passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import lbfgs
from .adam import RATE, Adam
from .checkpoint import Progress
from .probabilities import Array, doubted_loss, softmax
from .regression import Problem

DECAYS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Strongest first: each is solved from where the one before it has ended."""
_BATCH = 64
_BLOCK = 512
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Part:
    """Features (n, width), float32, and labels (n) as tensors on one device."""

    rows: Tensor
    labels: Tensor

    @classmethod
    def of(cls, rows: Array, labels: Array) -> Part:
        return cls(torch.from_numpy(rows).float(), torch.from_numpy(labels).long())

    def to(self, device: torch.device) -> Part:
        return Part(self.rows.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Head:
    """`rows @ weight.T + bias` are the logits of the classes; the standardization of the features is folded in.

    `weight` (classes, width) and `bias` (classes) are double and on the CPU, wherever they were fitted.
    """

    weight: Tensor
    bias: Tensor
    decay: float
    rivals: tuple[Head, ...] = ()
    """The heads it was chosen from on the validation photographs, itself among them."""

    def logits(self, rows: Tensor) -> Tensor:
        """(n, classes) on the device of `rows` (n, width). In blocks: all rows as double would be twice their size."""
        weight, bias = self.weight.to(rows.device).T, self.bias.to(rows.device)
        return torch.cat([block.double() @ weight + bias for block in torch.split(rows, _BLOCK)])

    def module(self) -> nn.Linear:
        linear = nn.Linear(self.weight.shape[1], self.weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(self.weight)
            linear.bias.copy_(self.bias)
        return linear.requires_grad_(False)


def line(entry: dict[str, Any]) -> str:
    """What `tell` hears, as Keras wrote it."""
    title = f"Epoch {entry['epoch']}/{entry['epochs']}"
    if "weight_decay" in entry:
        title = f"fit {entry['epoch']}/{entry['epochs']} - weight decay: {entry['weight_decay']:g}"
    return " - ".join([title, *(f"{name}: {entry[name]:.4f}" for name in ("loss", "acc", "val_loss", "val_acc"))])


def converged(
    train: Part, valid: Part, *, classes: int, tell: Tell, kept: Progress | None = None, balanced: bool = False
) -> Head:
    """L-BFGS to convergence for each weight decay; the one with the least doubted loss on `valid` is taken.

    The heads in `kept` are not solved again. `balanced`: every class weighs the same, however many photographs it has.
    """
    tensors = dict(kept.tensors) if kept else {}
    problem = Problem.of(train.rows, train.labels, classes, balanced)
    candidates: list[tuple[float, Head]] = []
    head: Head | None = None
    for step, decay in enumerate(DECAYS, 1):
        names = f"weight.{step}", f"bias.{step}"
        if names[0] in tensors:
            head = Head(tensors[names[0]], tensors[names[1]], decay)
        else:
            head = _solved(problem, decay, head)
            tell({"epoch": step, "epochs": len(DECAYS), "weight_decay": decay, **_scores(head, train, valid)})
            tensors.update(zip(names, (head.weight, head.bias), strict=True))
            if kept:
                kept.save(tensors)
        rows = softmax(head.logits(valid.rows).cpu().numpy())
        candidates.append((doubted_loss(rows, valid.labels.cpu().numpy()), head))
    best = min(candidates, key=lambda pair: pair[0])[1]
    return replace(best, rivals=tuple(head for _, head in candidates))


@dataclass(frozen=True)
class Passes:
    """How `in_epochs` goes: `seed` is that of the order of the photographs; `start`: the head to go on from; `rate`:
    Adam's, of learning."""

    classes: int
    epochs: int
    seed: int
    balanced: bool = False
    start: Head | None = None
    rate: float = RATE


class Kept(Protocol):
    """What a fit in passes goes on from, and where it leaves its state after each."""

    tensors: dict[str, Tensor]

    def save(self, tensors: Mapping[str, Tensor]) -> None: ...


def in_epochs(train: Part, valid: Part, how: Passes, *, tell: Tell, kept: Kept | None = None) -> Head:
    """Adam, `how.epochs` passes over shuffled batches of 64, `tell` hears of each; goes on from `kept`."""
    problem = Problem.of(train.rows, train.labels, how.classes, how.balanced)
    order = torch.Generator().manual_seed(how.seed)
    adam, done = Adam.at(_start(problem, how.start)), 0
    if kept and kept.tensors:
        adam, done = Adam.of(kept.tensors, train.rows.device), int(kept.tensors["epoch"])
        order.set_state(kept.tensors["order"])
    adam.rate = how.rate
    for epoch in range(done + 1, how.epochs + 1):
        shuffled = torch.randperm(len(train.rows), generator=order).to(train.rows.device)
        for batch in torch.split(shuffled, _BATCH):
            adam.step(problem.slope(batch, adam.point))
        tell({"epoch": epoch, "epochs": how.epochs, **_scores(_head(problem, adam.point, 0.0), train, valid)})
        if kept:
            kept.save({**adam.state(), "epoch": torch.tensor(epoch), "order": order.get_state()})
    return _head(problem, adam.point, 0.0)


def _solved(problem: Problem, decay: float, start: Head | None) -> Head:
    """The head of the least loss plus decay / 2 times the square of the weight, looked for from `start` on."""
    found = lbfgs.minimize(lambda point: problem.loss(point, decay), _start(problem, start))
    return _head(problem, found.point, decay)


def _start(problem: Problem, head: Head | None) -> Tensor:
    if head is None:
        return problem.origin()
    device = problem.mean.device
    return problem.point(head.weight.to(device), head.bias.to(device))


def _head(problem: Problem, point: Tensor, decay: float) -> Head:
    weight, bias = problem.folded(point)
    return Head(weight.cpu(), bias.cpu(), decay)


def _scores(head: Head, train: Part, valid: Part) -> dict[str, float]:
    scores = {}
    for prefix, part in (("", train), ("val_", valid)):
        logits = head.logits(part.rows)
        scores[f"{prefix}loss"] = float(functional.cross_entropy(logits, part.labels))
        scores[f"{prefix}acc"] = float((logits.argmax(1) == part.labels).double().mean())
    return scores
