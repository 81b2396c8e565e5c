"""Probabilities of classes, and what they cost when the truth is known."""

from __future__ import annotations

from typing import Any

import numpy

Array = numpy.ndarray[Any, numpy.dtype[Any]]


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


def log_losses(probabilities: Array, labels: Array) -> Array:
    """(n) of -log of what the true class was given, in nats."""
    chosen = probabilities[numpy.arange(len(labels)), labels]
    return -numpy.log(numpy.maximum(chosen, 1e-15))


def log_loss(probabilities: Array, labels: Array) -> float:
    """The mean of `log_losses`."""
    return float(log_losses(probabilities, labels).mean())
