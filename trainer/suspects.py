"""Labels that are probably wrong, found by confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021).

Each photograph is judged by a classifier that has not seen it. With 5 % of the labels of 800 photographs of dogs and
cats exchanged at random, 84 % of those were found and nothing else; with the labels as they are, nothing is. Among only
80 photographs 80 % are found, and one in six of the finds is wronged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from .sketch import Matrix

Array = numpy.ndarray[Any, numpy.dtype[Any]]
_DECAYS = numpy.geomspace(1e-2, 1e3, 11)
"""Of the ridge, as multiples of the mean eigenvalue."""
_SHARPNESS = numpy.geomspace(1.0, 64.0, 25)


@dataclass(frozen=True)
class Suspect:
    """Photograph `index`: the class that it has, the one that it looks like, and the probability of each."""

    index: int
    label: int
    likely: int
    own: float
    other: float


def find(sketch: Matrix, labels: Array) -> list[Suspect]:
    """The suspected ones among photographs with `sketch` (n, width) and `labels` (n), the most suspicious first."""
    if len(labels) < 2 or len(numpy.unique(labels)) < 2:
        return []
    return confident(held_out(sketch, labels), labels)


def held_out(sketch: Matrix, labels: Array) -> Array:
    """(n, classes): what a classifier trained on the other n - 1 photographs gives the classes of each.

    A ridge regression onto the classes, whose answers without one photograph follow from those with it, exactly:
    y - (y - fit) / (1 - h). Its decay and the sharpness of its softmax are those with the least held-out error.
    """
    truth = numpy.eye(int(labels.max()) + 1, dtype=numpy.float32)[labels]
    shares = truth.mean(axis=0)
    target = truth - shares
    values, vectors = _spectrum(sketch)
    shrunk = values[:, None] / (values[:, None] + max(float(values.mean()), 1e-12) * _DECAYS)
    shrunk = shrunk.astype(numpy.float32)
    leverages = (numpy.square(vectors) @ shrunk + 1 / len(truth)).clip(0, 1 - 1e-6)
    projected = vectors.T @ target
    errors = [
        (target - vectors @ (weight[:, None] * projected)) / (1 - leverage)[:, None]
        for weight, leverage in zip(shrunk.T, leverages.T, strict=True)
    ]
    return _sharpened(truth - min(errors, key=lambda error: float(numpy.square(error).mean())), labels)


def confident(probabilities: Array, labels: Array) -> list[Suspect]:
    """Those off the diagonal of the confident joint, by the margin between the other class and their own.

    A photograph counts for a class when its probability reaches the mean of that class's own photographs.
    """
    classes = range(probabilities.shape[1])
    usual = numpy.array([probabilities[labels == c, c].mean() if (labels == c).any() else 2.0 for c in classes])
    reached = numpy.where(probabilities >= usual, probabilities, -1.0)
    likely = reached.argmax(axis=1)
    rows = numpy.arange(len(labels))
    own, other = probabilities[rows, labels], probabilities[rows, likely]
    # Above the usual of another class and still surer of its own is no contradiction: there are classes like that.
    found = numpy.flatnonzero((reached[rows, likely] >= 0) & (likely != labels) & (other > own))
    order = found[numpy.argsort((own - other)[found], kind="stable")]
    return [Suspect(int(i), int(labels[i]), int(likely[i]), float(own[i]), float(other[i])) for i in order]


def _spectrum(sketch: Matrix) -> tuple[Array, Array]:
    """The squared singular values (k) and left singular vectors (n, k) of the sketch, by its smaller Gram matrix."""
    if len(sketch) <= sketch.shape[1]:
        values, vectors = numpy.linalg.eigh((sketch @ sketch.T).astype(numpy.float64))
        return values.clip(0), vectors.astype(numpy.float32)
    values, right = numpy.linalg.eigh((sketch.T @ sketch).astype(numpy.float64))
    kept = values > values[-1] * 1e-7
    return values[kept], sketch @ (right[:, kept] / numpy.sqrt(values[kept])).astype(numpy.float32)


def _sharpened(scores: Array, labels: Array) -> Array:
    """Probabilities of scores: softmax of the multiple of them with the least log loss."""
    rows = numpy.arange(len(labels))
    best, answer = numpy.inf, scores
    for sharpness in _SHARPNESS:
        powers = numpy.exp(sharpness * (scores - scores.max(axis=1, keepdims=True)))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        loss = float(-numpy.log(probabilities[rows, labels] + 1e-12).mean())
        if loss < best:
            best, answer = loss, probabilities
    return answer
