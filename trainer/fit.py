"""The head: logistic regression on frozen features, to convergence or in a given number of passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .checkpoint import Progress
from .probabilities import Array, doubted_loss, softmax

DECAYS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_BATCH = 64
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


def converged(train: Part, valid: Part, *, classes: int, tell: Tell, kept: Progress | None = None) -> Head:
    """L-BFGS to convergence for each weight decay; the one with the least doubted loss on `valid` is taken.

    The heads in `kept` are not solved again.
    """
    tensors = dict(kept.tensors) if kept else {}
    candidates = []
    for step, decay in enumerate(DECAYS, 1):
        names = f"weight.{step}", f"bias.{step}"
        if names[0] in tensors:
            head = Head(tensors[names[0]], tensors[names[1]], decay)
        else:
            head = _solve(train, classes, decay)
            tell({"epoch": step, "epochs": len(DECAYS), "weight_decay": decay, **_scores(head, train, valid)})
            tensors.update(zip(names, (head.weight, head.bias), strict=True))
            if kept:
                kept.save(tensors)
        candidates.append((doubted_loss(softmax(head.logits(valid.rows).numpy()), valid.labels.numpy()), head))
    return min(candidates, key=lambda pair: pair[0])[1]


@dataclass(frozen=True)
class Passes:
    """How `in_epochs` goes: `seed` is that of the order of the photographs."""

    classes: int
    epochs: int
    seed: int


def in_epochs(train: Part, valid: Part, how: Passes, *, tell: Tell, kept: Progress | None = None) -> Head:
    """Adam, `how.epochs` passes over shuffled batches of 64, `tell` hears of each; goes on from `kept`."""
    mean, spread = _statistics(train.rows)
    inputs = (train.rows - mean) / spread
    order = torch.Generator().manual_seed(how.seed)
    weight = torch.zeros(how.classes, inputs.shape[1], dtype=torch.double, requires_grad=True)
    bias = torch.zeros(how.classes, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=1e-3)
    done = _restore(kept.tensors, (weight, bias), optimizer, order) if kept and kept.tensors else 0
    for epoch in range(done + 1, how.epochs + 1):
        for batch in torch.randperm(len(inputs), generator=order).split(_BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(inputs[batch] @ weight.T + bias, train.labels[batch]).backward()
            optimizer.step()
        head = _unstandardized(weight, bias, (mean, spread), 0.0)
        tell({"epoch": epoch, "epochs": how.epochs, **_scores(head, train, valid)})
        if kept:
            kept.save(_state((weight, bias), optimizer, order, epoch))
    return _unstandardized(weight, bias, (mean, spread), 0.0)


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
