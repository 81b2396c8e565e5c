"""The gradient of a whole batch, in as many parts as memory asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .batches import Batch
from .errors import TrainerError
from .forward import Forward, exhausted, release, sentence


@dataclass
class Gradient:
    """`size` photographs at once; `weights` (classes) says what a mistake in each class counts, None: the same."""

    forward: Forward
    weights: Tensor | None
    size: int
    say: Callable[[str], None]

    def of(self, batch: Batch, scale: Callable[[Tensor], Tensor]) -> tuple[float, int]:
        """Leave the gradient of the batch's mean loss in the parameters; the sum of its losses, and how many are right.

        The loss of each part is divided by the whole batch, so that however many parts there are, their gradients add
        up to that of the whole. Too little memory: the step begins again in parts of half the size, for good.
        TrainerError when one photograph is too much.
        """
        while True:
            try:
                return self._in_parts(batch, scale)
            except (RuntimeError, MemoryError) as error:
                if not exhausted(error):
                    raise
                if self.size == 1:
                    raise TrainerError(
                        f"memory does not suffice for one photograph at a time ({sentence(error)})",
                        "Unfreeze fewer layers, or take a machine with more memory",
                    ) from error
            # Only here, where the error has let go of what the failed step held.
            self._halve(len(batch.labels))

    def _halve(self, whole: int) -> None:
        self._clear()
        release(self.forward.device)
        self.size = max(min(self.size, whole) // 2, 1)
        self.say(
            f"memory does not suffice: {self.size} photographs at a time from here on; the batch stays at {whole} "
            "and the schedule as it is"
        )

    def _in_parts(self, batch: Batch, scale: Callable[[Tensor], Tensor]) -> tuple[float, int]:
        self._clear()
        loss, right = 0.0, 0
        for start in range(0, len(batch.labels), self.size):
            part = slice(start, start + self.size)
            labels = batch.labels[part].to(self.forward.device)
            logits = self.forward.logits(batch.pixels[part])
            losses = functional.cross_entropy(logits, labels, self.weights, reduction="sum")
            scale(losses / len(batch.labels)).backward()  # type: ignore[no-untyped-call]
            loss += float(losses.detach())
            right += int((logits.detach().argmax(1) == labels).sum())
        return loss, right

    def _clear(self) -> None:
        for parameter in self.forward.whole.parameters():
            parameter.grad = None


def balanced(labels: list[int], classes: int) -> Tensor:
    """Weights (classes) with which every class counts the same, 1 on the mean over the photographs."""
    counts = torch.bincount(torch.tensor(labels), minlength=classes)
    return (len(labels) / (classes * counts.clamp(min=1).double())).float()
