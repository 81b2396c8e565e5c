"""How a head's logits become probabilities, and what is expected of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy
import torch

from .fit import Head, Part
from .probabilities import Array, clip, doubted_loss, log_loss, softmax

_TEMPERATURES = numpy.geomspace(1.0, 4.0, 41)
_EDGES = (0.0005, 0.001, 0.002, 0.005, 0.01)


@dataclass(frozen=True)
class Answers:
    """A head whose probabilities are calibrated, with its figures on the validation photographs."""

    head: Head
    temperature: float
    edge: float
    accuracy: float
    log_loss: float
    log_loss_raw: float
    confusion: list[list[int]]

    @classmethod
    def calibrated(cls, head: Head, valid: Part) -> Answers:
        logits, labels = head.logits(valid.rows).numpy(), valid.labels.numpy()
        temperature = choose_temperature(logits, labels)
        cool = softmax(logits / temperature)
        edges = [edge / logits.shape[1] * 2 for edge in _EDGES]
        _, edge = min((doubted_loss(clip(cool, edge), labels), edge) for edge in edges)
        guesses = logits.argmax(axis=1)
        confusion = numpy.zeros((logits.shape[1],) * 2, dtype=int)
        numpy.add.at(confusion, (labels, guesses), 1)
        accuracy, raw = float((guesses == labels).mean()), log_loss(softmax(logits), labels)
        loss = log_loss(clip(cool, edge), labels)
        return cls(head, temperature, edge, accuracy, loss, raw, confusion.tolist())

    def of(self, rows: torch.Tensor) -> Array:
        """Probabilities (n, classes) of features (n, width)."""
        if not len(rows):
            return numpy.zeros((0, len(self.confusion)))
        return clip(softmax(self.head.logits(rows).numpy() / self.temperature), self.edge)


def choose_temperature(logits: Array, labels: Array) -> float:
    """The divisor (1 to 4) of the logits with the least log loss; 1 unless another is better: it never does harm."""
    losses = [(log_loss(softmax(logits / t), labels), abs(float(numpy.log(t))), float(t)) for t in _TEMPERATURES]
    best = min(losses)
    return best[2] if best[0] < log_loss(softmax(logits), labels) else 1.0
