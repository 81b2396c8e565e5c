"""A frozen network with a head on it: what the lesson has as `vgg.model`, with Keras's verbs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from . import arrays, checkpoint, fit, imagenet
from .adam import RATE
from .backbone import Backbone
from .errors import TrainerError, UsageError
from .features import Table
from .fit import Head, Part, Passes
from .probabilities import Array, softmax

Tell = Callable[[dict[str, Any]], None]


@dataclass
class Optimizer:
    """Adam; `lr` is its rate of learning, and may be set at any time."""

    lr: float = RATE


@dataclass
class _Memory:
    """Where a fit in passes has come to, on these training rows: the next one goes on from there."""

    of: str = ""
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = {name: tensor.clone() for name, tensor in tensors.items()}


class Classifier:
    """`head` is ImageNet's until `begin`; `classes` are the names of its outputs, in their order."""

    def __init__(self, backbone: Backbone, seed: int) -> None:
        self.backbone, self.seed = backbone, seed
        self.optimizer = Optimizer()
        self.head = backbone.head
        self._names: list[str] | None = None
        self._shares: Array | None = None
        self._memory = _Memory()

    @property
    def classes(self) -> list[str]:
        return list(imagenet.names()) if self._names is None else self._names

    @property
    def is_imagenets(self) -> bool:
        """Whether it still has the 1,000 classes that it was published with."""
        return self._names is None

    def begin(self, names: Sequence[str], shares: Array | None = None) -> None:
        """A new head, which gives all of `names` the same. `shares` (classes) is what is said of a photograph that
        cannot be read."""
        if len(names) < 2:
            found = f"only the class {names[0]}" if names else "no class"
            raise UsageError(f"there is {found} to learn", "At least two are needed, one folder for each class")
        weight = torch.zeros(len(names), self.backbone.width, dtype=torch.double)
        self._put(Head(weight, weight[:, 0].clone(), 0.0), names, shares)

    def check_learns(self) -> None:
        """TrainerError while the head is still the published one."""
        if self.is_imagenets:
            raise TrainerError("the network still has ImageNet's classes", "Call finetune(batches) before fit")

    def compile(self, lr: float = RATE) -> None:
        """Learn at this rate from here on; what the optimizer has gathered is left behind."""
        if not (lr > 0 and math.isfinite(lr)):
            raise UsageError(f"{lr} is no rate of learning", f"Give lr above 0; {RATE:g} is the default")
        self.optimizer, self._memory = Optimizer(lr), _Memory()

    def predict(self, imgs: Array | Sequence[Array]) -> Array:
        """Probabilities (n, classes) of images as `arrays.pixels` takes them."""
        return self._probabilities(self.backbone.rows(arrays.pixels(imgs, self.backbone.how)))

    def answers(self, table: Table) -> Array:
        """Probabilities (n, classes), a row for each of the table's; a photograph that cannot be read has the share of
        each class, or of ImageNet's all the same."""
        found = self._probabilities(torch.from_numpy(table.rows))
        shares = self._shares
        found[list(table.broken)] = 1 / found.shape[1] if shares is None else shares
        return found

    def fit(self, train: Part, valid: Part, nb_epoch: int | None, tell: Tell) -> None:
        """`nb_epoch` passes over the features; None: to convergence. A second fit goes on from the first one: two of
        one pass on the same photographs are one of two."""
        self.check_learns()
        if nb_epoch is not None and nb_epoch < 1:
            raise UsageError(f"nb_epoch is {nb_epoch}", "Give 1 or more, or None for a fit to convergence")
        train, valid = train.to(self.backbone.device), valid.to(self.backbone.device)
        classes = len(self.classes)
        if nb_epoch is None:
            self.head, self._memory = fit.converged(train, valid, classes=classes, tell=tell), _Memory()
        else:
            self._pass(train, valid, nb_epoch, tell)
        self._shares = numpy.bincount(train.labels.cpu().numpy(), minlength=classes) / len(train.labels)

    def _pass(self, train: Part, valid: Part, nb_epoch: int, tell: Tell) -> None:
        # The optimizer's state is of features that are standardized by just these rows.
        key = _digest(train)
        memory = _Memory(key)
        if self._memory.of == key:
            # A copy: the passes change their state in place.
            memory.save(self._memory.tensors)
        done = int(memory.tensors["epoch"]) if memory.tensors else 0
        how = Passes(len(self.classes), done + nb_epoch, self.seed, start=self.head, rate=float(self.optimizer.lr))

        def told(entry: dict[str, Any]) -> None:
            tell({**entry, "epoch": entry["epoch"] - done, "epochs": nb_epoch})

        # Only when it is through: an interrupted fit leaves head and optimizer as they were.
        head = fit.in_epochs(train, valid, how, tell=told, kept=memory)
        self.head, self._memory = head, memory

    def save_weights(self, path: Path | str) -> None:
        """What was learned, as safetensors whatever the name: the head with its classes, and of which network it is."""
        head = self._head()
        facts = {"model": self.backbone.name, "weights": self.backbone.source.sha256}
        tensors = {"weight": head.weight, "bias": head.bias}
        if self._shares is not None:
            tensors["shares"] = torch.from_numpy(self._shares)
        named = json.dumps(self._names)
        try:
            checkpoint.write_weights(Path(path), tensors, {**facts, "classes": named})
        except OSError as error:
            raise TrainerError(f"{path} cannot be written: {error.strerror or error}", "Name another place") from error

    def load_weights(self, path: Path | str) -> None:
        """What `save_weights` has written. TrainerError when it is something else, or of another network."""
        facts, tensors = _read(Path(path))
        if (facts["model"], facts["weights"]) != (self.backbone.name, self.backbone.source.sha256):
            raise TrainerError(
                f"{path} was learned on {facts['model']} with the weights {facts['weights'][:8]}, and this is "
                f"{self.backbone.name} with {self.backbone.source.sha256[:8]}",
                "Make the network that it belongs to first",
            )
        shares = tensors.get("shares")
        head = Head(tensors["weight"], tensors["bias"], 0.0)
        self._put(head, json.loads(facts["classes"]), None if shares is None else shares.numpy())

    def summary(self, print_fn: Callable[[str], None] = print) -> None:
        """The layers with their parameters; only the last one learns."""
        rows = [*self.backbone.layers[:-1], (f"{self.backbone.layers[-1][0]} (learns)", self._head().weight.numel())]
        wide = max(len(name) for name, _ in rows)
        for name, count in rows:
            print_fn(f"{name:<{wide}}  {count:>12,}")
        print_fn(f"{'all':<{wide}}  {sum(count for _, count in rows):>12,}")

    def _put(self, head: Head, names: Sequence[str] | None, shares: Array | None) -> None:
        self.head, self._shares, self._memory = head, shares, _Memory()
        self._names = None if names is None else list(names)

    def _head(self) -> Head:
        if self.head is None or (self.is_imagenets and len(self.head.bias) != imagenet.CLASSES):
            raise TrainerError(
                f"{self.backbone.name} has no head for ImageNet's classes in {self.backbone.source.path}",
                "Call finetune(batches) and fit first",
            )
        return self.head

    def _probabilities(self, rows: Tensor) -> Array:
        return softmax(self._head().logits(rows).numpy()).astype(numpy.float32)


def _digest(part: Part) -> str:
    running = hashlib.sha256()
    for tensor in (part.rows, part.labels):
        running.update(tensor.cpu().numpy().data)
    return running.hexdigest()


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {error.strerror or error}", "Check its name and mode") from error
    except (SafetensorError, ValueError) as error:
        raise _no_weights(path) from error
    if not facts.keys() >= {"model", "weights", "classes"} or not tensors.keys() >= {"weight", "bias"}:
        raise _no_weights(path)
    return facts, tensors


def _no_weights(path: Path) -> TrainerError:
    return TrainerError(f"{path} was not written by save_weights", "Name a file that was")
