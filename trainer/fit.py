"""The head: logistic regression on frozen features, to convergence or in a given number of passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .checkpoint import Progress
from .probabilities import Array, doubted_loss, softmax

DECAYS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Strongest first: each is solved from where the one before it has ended."""
_BATCH = 64
_BLOCK = 4096
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
    problem = _Problem.of(train, classes, balanced)
    candidates: list[tuple[float, Head]] = []
    head: Head | None = None
    for step, decay in enumerate(DECAYS, 1):
        names = f"weight.{step}", f"bias.{step}"
        if names[0] in tensors:
            head = Head(tensors[names[0]], tensors[names[1]], decay)
        else:
            head = problem.solved(decay, head)
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
    """How `in_epochs` goes: `seed` is that of the order of the photographs; `start`: the head to go on from."""

    classes: int
    epochs: int
    seed: int
    balanced: bool = False
    start: Head | None = None


def in_epochs(train: Part, valid: Part, how: Passes, *, tell: Tell, kept: Progress | None = None) -> Head:
    """Adam, `how.epochs` passes over shuffled batches of 64, `tell` hears of each; goes on from `kept`."""
    problem = _Problem.of(train, how.classes, how.balanced)
    order = torch.Generator().manual_seed(how.seed)
    weight, bias = problem.parameters(how.start)
    optimizer = torch.optim.Adam([weight, bias], lr=1e-3)
    done = _restore(kept.tensors, (weight, bias), optimizer, order) if kept and kept.tensors else 0
    for epoch in range(done + 1, how.epochs + 1):
        shuffled = torch.randperm(len(train.rows), generator=order).to(train.rows.device)
        for batch in torch.split(shuffled, _BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(problem.loss_of(batch, weight, bias))
            optimizer.step()
        head = problem.head(weight, bias, 0.0)
        tell({"epoch": epoch, "epochs": how.epochs, **_scores(head, train, valid)})
        if kept:
            kept.save(_state((weight, bias), optimizer, order, epoch))
    return problem.head(weight, bias, 0.0)


@dataclass(frozen=True)
class _Problem:
    """Weighted cross entropy of a linear head on standardized features.

    The features stay as they are, in float32 and uncopied: their standardization is a change of the parameters. What
    is small (parameters, logits, losses) is double.
    """

    train: Part
    mean: Tensor
    spread: Tensor
    """(width), double."""
    weights: Tensor
    """(classes), double: what one photograph of each class weighs."""

    @classmethod
    def of(cls, train: Part, classes: int, balanced: bool) -> _Problem:
        counts = torch.bincount(train.labels, minlength=classes).double().clamp(min=1)
        weights = len(train.labels) / (classes * counts) if balanced else torch.ones_like(counts)
        return cls(train, *_statistics(train.rows), weights)

    def parameters(self, start: Head | None) -> tuple[Tensor, Tensor]:
        """The weight (classes, width) and the bias (classes) to begin with, for standardized features."""
        device, shape = self.mean.device, (len(self.weights), len(self.mean))
        weight = torch.zeros(shape, dtype=torch.double, device=device)
        bias = torch.zeros(shape[0], dtype=torch.double, device=device)
        if start is not None:
            scaled = start.weight.to(device)
            weight, bias = scaled * self.spread, start.bias.to(device) + scaled @ self.mean
        return weight.requires_grad_(), bias.requires_grad_()

    def solved(self, decay: float, start: Head | None) -> Head:
        """The head of the least loss plus decay / 2 times the square of the weight, looked for from `start` on."""
        weight, bias = self.parameters(start)
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=200,
            history_size=10,
            tolerance_grad=1e-6,
            tolerance_change=1e-8,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            optimizer.zero_grad()
            loss = self.loss(weight, bias) + decay / 2 * weight.square().sum()
            torch.autograd.backward(loss)
            return loss

        optimizer.step(objective)  # type: ignore[no-untyped-call]
        return self.head(weight, bias, decay)

    def loss(self, weight: Tensor, bias: Tensor) -> Tensor:
        scaled = weight / self.spread
        # Not `rows @ scaled.T`: the gradient of that is several times slower for a few classes.
        logits = functional.linear(self.train.rows, scaled.float()).double() + (bias - scaled @ self.mean)
        return functional.cross_entropy(logits, self.train.labels, self.weights)

    def loss_of(self, batch: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        inputs = (self.train.rows[batch] - self.mean) / self.spread
        return functional.cross_entropy(inputs @ weight.T + bias, self.train.labels[batch], self.weights)

    def head(self, weight: Tensor, bias: Tensor, decay: float) -> Head:
        scaled = weight.detach() / self.spread
        return Head(scaled.cpu(), (bias.detach() - scaled @ self.mean).cpu(), decay)


def _state(
    parameters: tuple[Tensor, Tensor], optimizer: torch.optim.Optimizer, order: torch.Generator, epoch: int
) -> dict[str, Tensor]:
    """All that the next pass depends on."""
    tensors = {"weight": parameters[0], "bias": parameters[1], "order": order.get_state(), "epoch": torch.tensor(epoch)}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
    return tensors


def _restore(
    tensors: dict[str, Tensor],
    parameters: tuple[Tensor, Tensor],
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
) -> int:
    """The reverse of `_state`; the passes that are done."""
    with torch.no_grad():
        parameters[0].copy_(tensors["weight"])
        parameters[1].copy_(tensors["bias"])
    order.set_state(tensors["order"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, index, what = name.split(".")
            state.setdefault(int(index), {})[what] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return int(tensors["epoch"])


def _statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread (width) in double, block by block."""
    blocks = torch.split(rows, _BLOCK)
    mean = sum((block.double().sum(0) for block in blocks), torch.zeros_like(rows[0]).double()) / len(rows)
    squares = sum(((block - mean).square().sum(0) for block in blocks), torch.zeros_like(mean))
    return mean, (squares / len(rows)).sqrt() + 1e-6


def _scores(head: Head, train: Part, valid: Part) -> dict[str, float]:
    scores = {}
    for prefix, part in (("", train), ("val_", valid)):
        logits = head.logits(part.rows)
        scores[f"{prefix}loss"] = float(functional.cross_entropy(logits, part.labels))
        scores[f"{prefix}acc"] = float((logits.argmax(1) == part.labels).double().mean())
    return scores
