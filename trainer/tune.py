"""Training through the network: the last layers, or all of them, after the head was fitted on frozen features."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import layers, views
from .augment import Augmentation
from .batches import Batch, Epochs, ahead, unreadable
from .checkpoint import Progress
from .data import Photo
from .determinism import deterministic
from .forward import Forward, exhausted
from .images import Preprocessing
from .interruption import held
from .microbatch import Gradient, balanced
from .models import Network
from .optimizer import Optimizer
from .plan import Plan, Seams
from .schedule import OneCycle

Parts = tuple[Sequence[Photo], Sequence[Photo]]
"""The photographs to train on and those to validate with. All of them have been read before."""


@dataclass(frozen=True)
class Tuned:
    """`network` has the weights of the epoch with the least validation log loss; 0: those that it came with."""

    network: Network
    epoch: int
    history: list[dict[str, Any]]
    """For each epoch from 0 on `epoch`, `epochs`, `val_loss`, `val_acc` and, but for 0, `loss`, `acc`, `rate`."""
    layers: tuple[str, ...]
    """What has learned, the head last."""
    at_once: int
    """Photographs that memory took at once."""

    @property
    def helped(self) -> bool:
        return self.epoch > 0


def through(network: Network, parts: Parts, how: Preprocessing, plan: Plan, seams: Seams) -> Tuned:
    """Train `network`, whose head is fitted, with `plan`; its weights are changed in place.

    Killed at any point and called again with the same arguments and a `network` of the same weights, it ends in the
    same bits on the same hardware. The network as it came takes part as epoch 0: if no epoch has a lower log loss on
    the validation photographs, it stays as it was. TrainerError names a photograph that has gone meanwhile.
    """
    with deterministic(network.whole, seams.say):
        training = _Training(network, parts, how, plan, seams)
        try:
            training.run()
        finally:
            training.keep()
        return training.result()


@dataclass
class _Position:
    """How far it has come, and what came of it: all that is no tensor, as it goes into the checkpoint."""

    step: int = 0
    loss: float = 0.0
    right: int = 0
    """Of the steps of this epoch so far."""
    best: int = 0
    diverged: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


class _Training:
    def __init__(self, network: Network, parts: Parts, how: Preprocessing, plan: Plan, seams: Seams) -> None:
        self._network, self._valid, self._plan, self._seams = network, parts[1], plan, seams
        key = _key(network, parts, how, plan, seams)
        network.whole.to(seams.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._chosen = layers.unfreeze(network, plan.layers)
        self._parameters = {name: p for layer in self._chosen for name, p in layer.parameters.items()}
        self._best = self._copy()
        self._forward = Forward(network.whole, how, seams.device, seams.precision)
        self._epochs = Epochs(parts[0], Augmentation(how, plan.augment, plan.seed), plan.batch)
        self._cycle = OneCycle(plan.epochs * self._epochs.steps)
        self._optimizer = Optimizer(self._chosen, plan, seams)
        self._gradient = Gradient(self._forward, self._weights(parts), plan.batch, self._halved)
        self._at = _Position()
        self._progress = Progress(seams.checkpoint, key, seams.say)
        self._restore()

    def run(self) -> None:
        while not self._at.diverged:
            if len(self._at.history) <= self._at.step // self._epochs.steps:
                self._judge()
            elif self._over():
                return
            else:
                self._epoch()

    def keep(self) -> None:
        """Write all that the next step depends on."""
        tensors = {f"model.{name}": parameter.detach() for name, parameter in self._parameters.items()}
        if self._at.best:
            tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        self._progress.facts = {**vars(self._at), "at_once": self._gradient.size, "scaling": self._optimizer.facts()}
        try:
            self._progress.write({**tensors, **self._optimizer.tensors()})
        except (RuntimeError, MemoryError) as error:
            if not exhausted(error):
                raise
            self._seams.say("warning: there is no memory to write the checkpoint with: the last one stays")

    def result(self) -> Tuned:
        self._put(self._best)
        whole = self._network.whole.requires_grad_(False)
        whole.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        names = tuple(layer.name for layer in self._chosen)
        return Tuned(self._network, self._at.best, self._at.history, names, self._gradient.size)

    def _restore(self) -> None:
        kept = self._progress
        if not kept.tensors:
            return
        facts = dict(kept.facts)
        self._gradient.size = facts.pop("at_once")
        self._optimizer.restore(kept.tensors, facts.pop("scaling"))
        self._at = _Position(**facts)
        self._put({name: kept.tensors[f"model.{name}"] for name in self._parameters})
        if self._at.best:
            self._best = {name: kept.tensors[f"best.{name}"] for name in self._parameters}
        kept.tensors = {}
        self._seams.say(f"going on from the checkpoint, after {self._at.step} of {self._cycle.steps} steps")
        for entry in self._at.history:
            self._seams.tell(entry)

    def _over(self) -> bool:
        done = len(self._at.history) - 1
        return done == self._plan.epochs or done - self._at.best >= self._plan.patience

    def _epoch(self) -> None:
        epoch, first = divmod(self._at.step, self._epochs.steps)
        with closing(self._epochs.run(epoch, first)) as batches:
            for batch in batches:
                self._learn(batch)
                if self._progress.due():
                    self.keep()

    def _learn(self, batch: Batch) -> None:
        loss, right = self._gradient.of(batch, self._optimizer.scale)
        step = self._at.step
        with held():
            self._optimizer.step(self._cycle.rate(step), self._cycle.momentum(step))
            self._at.step += 1
            self._at.loss += loss
            self._at.right += right

    def _judge(self) -> None:
        entry: dict[str, Any] = {"epoch": len(self._at.history), "epochs": self._plan.epochs}
        entry |= {**self._trained(), **self._validated()}
        if not all(math.isfinite(number) for number in entry.values()):
            self._at.diverged = True
            self._seams.say(f"warning: the training diverged in epoch {entry['epoch']}: the rates are too high for it")
            return
        with held():
            if self._at.history and entry["val_loss"] < self._at.history[self._at.best]["val_loss"]:
                self._at.best, self._best = entry["epoch"], self._copy()
            self._at.history.append(entry)
            self._at.loss, self._at.right = 0.0, 0
        self._seams.tell(entry)

    def _trained(self) -> dict[str, float]:
        """Of the augmented photographs, each as it was met."""
        if not self._at.step:
            return {}
        count = len(self._epochs.photos)
        rate = self._plan.rates[1] * self._cycle.rate(self._at.step - 1)
        return {"loss": self._at.loss / count, "acc": self._at.right / count, "rate": rate}

    def _validated(self) -> dict[str, float]:
        found = views.logits(self._forward, [photo.path for photo in self._valid], self._plan.views, self._plan.batch)
        for index, why in found.broken.items():
            raise unreadable(self._valid[index].path, ValueError(why))
        rows, labels = torch.from_numpy(found.rows), torch.tensor([photo.label for photo in self._valid])
        right = (rows.argmax(1) == labels).double().mean()
        return {"val_loss": float(functional.cross_entropy(rows, labels)), "val_acc": float(right)}

    def _weights(self, parts: Parts) -> Tensor | None:
        if not self._plan.balanced:
            return None
        classes = self._parameters[f"{self._network.head}.weight"].shape[0]
        return balanced([photo.label for photo in parts[0]], classes).to(self._seams.device)

    def _halved(self, line: str) -> None:
        self._seams.say(line)
        self.keep()

    def _copy(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def _put(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(tensors[name])


def _key(network: Network, parts: Parts, how: Preprocessing, plan: Plan, seams: Seams) -> str:
    """Of all that the result depends on: two trainings with the same key end in the same bits."""
    asked = {"version": 1, "plan": plan.document(), "how": how.document(), "counts": [len(part) for part in parts]}
    asked |= {"name": network.name, "device": seams.device.type, "precision": str(seams.precision)}
    running = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for tensor in network.whole.state_dict().values():
        running.update(tensor.detach().cpu().contiguous().numpy().data)
    photos = [photo for part in parts for photo in part]
    for photo, digest in zip(photos, ahead(_digest, photos, 64), strict=True):
        running.update(digest + photo.label.to_bytes(4, "big"))
    return running.hexdigest()


def _digest(photo: Photo) -> bytes:
    try:
        return hashlib.sha256(photo.path.read_bytes()).digest()
    except OSError as error:
        raise unreadable(photo.path, error) from error
