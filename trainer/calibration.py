"""How logits become probabilities, and what is expected of them on photographs that nobody has labelled."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy

from .probabilities import Array, clip, doubted_loss, log_losses, softmax

FOLDS = 5
LEVEL = 0.95
"""How often an interval should contain the truth."""
_Z = 1.959964
_DRAWS = 2000
_MARGIN = 0.25
"""Photographs. Twice as much was seen to cost 0.0026 on photographs held out (80 to choose on), 0.0005 (240)."""
_TEMPERATURES = tuple(2.0 ** (step / 8) for step in range(17))
"""Never below 1: to be surer than the head is was seen to gain nothing on photographs that were held out."""
_EDGES = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
"""For two classes; for more, the same mass is shared out among them."""


@dataclass(frozen=True)
class Estimate:
    """A figure with the interval in which the truth is, 95 times of 100."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """The logits are divided by `temperature`, and no probability is nearer to 0 or 1 than `edge`.

    The log losses are cross-validated: head, temperature and edge were chosen on the other folds. Their intervals are
    of a Bayesian bootstrap over the photographs, with half a photograph more that is a sure mistake.
    """

    temperature: float
    edge: float
    margin: float
    """The share of photographs that may be sure mistakes although none of the validation photographs is: a quarter of
    a photograph of these. `edge` is no less than what is best for that share, up to 0.02."""
    folds: int
    accuracy: Estimate
    """With Wilson's interval."""
    raw: Estimate
    calibrated: Estimate
    clipped: Estimate
    """What is expected of the submission."""
    shifted: float
    """The log loss of the submission if `margin` more of its photographs were sure mistakes."""

    @classmethod
    def chosen(cls, logits: Array, labels: Array, rivals: Sequence[Array] = ()) -> Calibration:
        """By logits (n, classes) and labels (n) of validation photographs; n may be as small as 1.

        `rivals`: the logits of every head of which this one was the best on the same photographs. That one of many
        did well on them is in part luck, and expected is what the best of the other folds does on each.
        """
        margin = _MARGIN / len(labels)
        folds = _folds(logits, labels)
        heads = rivals or (logits,)
        grid = _TEMPERATURES
        raw, cool, clipped = _cross_validated(heads, labels, folds, grid)
        if not _less(cool.mean(), raw.mean()):
            # Choosing did harm, or nothing, on photographs that it had not seen.
            grid = (1.0,)
            _, cool, clipped = _cross_validated(heads, labels, folds, grid)
        temperature, edge = _choice(logits, labels, grid, margin)
        worst = -math.log(edge)
        right = int((logits.argmax(axis=1) == labels).sum())
        return cls(
            temperature=temperature,
            edge=edge,
            margin=margin,
            folds=int(folds.max()) + 1,
            accuracy=wilson(right, len(labels)),
            raw=_bootstrapped(raw, worst),
            calibrated=_bootstrapped(cool, worst),
            clipped=_bootstrapped(clipped, worst),
            shifted=(1 - margin) * float(clipped.mean()) + margin * worst,
        )

    def probabilities(self, logits: Array) -> Array:
        """(n, classes), of logits (n, classes)."""
        return clip(softmax(logits / self.temperature), self.edge) if len(logits) else logits

    def document(self) -> dict[str, Any]:
        """For result.json: every figure with its interval."""
        losses = {"raw": asdict(self.raw), "calibrated": asdict(self.calibrated), "clipped": asdict(self.clipped)}
        return {
            "temperature": self.temperature,
            "clip": self.edge,
            "margin": self.margin,
            "folds": self.folds,
            "level": LEVEL,
            "accuracy": asdict(self.accuracy),
            "log_loss": {**losses, "shifted": self.shifted},
        }


def wilson(right: int, n: int) -> Estimate:
    """The share `right` / `n` with Wilson's interval, which keeps its level near 0 and 1 and for few photographs.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    share, square = right / n, _Z * _Z / n
    middle = (share + square / 2) / (1 + square)
    half = _Z / (1 + square) * math.sqrt(share * (1 - share) / n + square / (4 * n))
    return Estimate(share, min(max(0.0, middle - half), share), max(min(1.0, middle + half), share))


def _cross_validated(
    heads: Sequence[Array], labels: Array, folds: Array, temperatures: Iterable[float]
) -> tuple[Array, Array, Array]:
    """The log losses (n) raw, calibrated, and clipped too: each photograph's with what was chosen without its fold."""
    raw, cool, clipped = numpy.zeros((3, len(labels)))
    margin = _MARGIN / len(labels)
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        # A single photograph has no others to choose on.
        rest = held if held.all() else ~held
        logits = min(heads, key=lambda each: round(doubted_loss(softmax(each[rest]), labels[rest]), 10))
        temperature, edge = _choice(logits[rest], labels[rest], temperatures, margin)
        rows = softmax(logits[held] / temperature)
        raw[held] = log_losses(softmax(logits[held]), labels[held])
        cool[held] = log_losses(rows, labels[held])
        clipped[held] = log_losses(clip(rows, edge), labels[held])
    return raw, cool, clipped


def _choice(logits: Array, labels: Array, temperatures: Iterable[float], margin: float) -> tuple[float, float]:
    """The temperature and then the edge of the least doubted loss; of two that are as good, the nearer to none."""
    share = 2 / logits.shape[1]
    least = min(margin, _EDGES[-1])
    edges = sorted({max(edge, least) * share for edge in _EDGES})
    tried = [(_doubted(logits / t, labels, edges[0]), round(abs(math.log(t)), 9), t) for t in temperatures]
    temperature = min(tried)[2]
    cool = logits / temperature
    return temperature, min((_doubted(cool, labels, edge), edge) for edge in edges)[1]


def _doubted(logits: Array, labels: Array, edge: float) -> float:
    # Rounded: in which order the classes were summed must not decide between two that are as good.
    return round(doubted_loss(clip(softmax(logits), edge), labels), 10)


def _less(one: float, other: float) -> bool:
    return round(float(one), 10) < round(float(other), 10)


def _folds(logits: Array, labels: Array) -> Array:
    """(n) fold numbers, stratified. They follow from each photograph's own logits: neither the order of the
    photographs nor that of the classes changes them."""
    digests = [_digest(row, label) for row, label in zip(logits, labels, strict=True)]
    first: dict[int, bytes] = {}
    for digest, label in zip(digests, labels.tolist(), strict=True):
        first[label] = min(first.get(label, digest), digest)
    order = sorted(range(len(labels)), key=lambda index: (first[int(labels[index])], digests[index]))
    folds = numpy.zeros(len(labels), dtype=int)
    folds[order] = numpy.arange(len(labels)) % FOLDS
    return folds


def _digest(logits: Array, label: int) -> bytes:
    return hashlib.sha256(numpy.append(numpy.sort(logits), logits[label]).tobytes()).digest()


def _bootstrapped(losses: Array, worst: float) -> Estimate:
    """The mean of the losses; its interval supposes half a photograph more that costs `worst`.

    Without it a few photographs of which none is a mistake would prove that there are no mistakes. D. B. Rubin, The
    Bayesian bootstrap, Annals of Statistics 9 (1981).
    """
    random = numpy.random.default_rng(0)
    values = numpy.sort(losses)
    worst = max(worst, float(values[-1]))
    means = []
    for _ in range(_DRAWS // 20):
        weights, more = random.standard_exponential((20, len(values))), random.standard_gamma(0.5, 20)
        means.append((weights @ values + more * worst) / (weights.sum(axis=1) + more))
    low, high = numpy.quantile(numpy.concatenate(means), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    mean = float(values.mean())
    return Estimate(mean, min(mean, float(low)), max(mean, float(high)))
