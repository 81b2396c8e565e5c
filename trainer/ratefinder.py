"""Which learning rate: a short training in which it grows with every batch, until the loss runs away.

Smith, "Cyclical Learning Rates" (arXiv:1506.01186), as fastai's `lr_find` does it: 1e-7 to 10 in 100 steps, the loss
smoothed with 0.98, the end when it is four times its least, and the suggestion half-way down the longest descent
(its "valley").
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from . import layers
from .augment import Augmentation
from .batches import Batch, Epochs
from .data import Photo
from .determinism import deterministic
from .forward import Forward
from .images import Preprocessing
from .microbatch import Gradient
from .models import Network
from .optimizer import Optimizer
from .plan import Plan, Seams

_SMOOTHING = 0.98
_RUNAWAY = 4.0
_MOMENTUM = 0.95
_UNSURE = 10
"""Steps, of which the smoothed loss is the mean of too few to be believed."""


@dataclass(frozen=True)
class Sweep:
    """From the `first` rate of the head to its `last` in `steps` batches."""

    first: float = 1e-7
    last: float = 10.0
    steps: int = 100

    def rate(self, step: int) -> float:
        return float(self.first * (self.last / self.first) ** (step / max(self.steps - 1, 1)))


@dataclass(frozen=True)
class Curve:
    """The rate of the head at each step, the loss that it met, and the smoothed loss.

    `suggestion` is None where the loss never fell: the network is at an optimum already, or the data teach nothing.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None

    def document(self) -> dict[str, Any]:
        """For result.json and the report."""
        return asdict(self)

    def png(self) -> bytes:
        """The plot: the smoothed loss over the rate, the suggestion marked."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, ".", color="#c3cad6", label="each batch")
        axes.plot(self.rates, self.smoothed, label="smoothed")
        if self.suggestion is not None:
            axes.axvline(self.suggestion, color="#c0392b", linestyle="--", label=f"suggested: {self.suggestion:.1e}")
        axes.set(xscale="log", xlabel="learning rate of the head", ylabel="loss")
        axes.set_ylim(0, 1.1 * max(self.smoothed, default=1.0))
        axes.legend(frameon=False)
        file = io.BytesIO()
        FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
        return file.getvalue()


def find(
    network: Network, photos: Sequence[Photo], how: Preprocessing, plan: Plan, seams: Seams, sweep: Sweep | None = None
) -> Curve:
    """The curve for training `network` with `plan`, on a copy of it; the same for the same arguments.

    The rates of the layers keep the ratios that `plan.rates` gives them. The plan for a suggestion: `suggested`.
    """
    sweep = sweep or Sweep()
    with deterministic(network.whole, seams.say):
        losses = _losses(deepcopy(network), photos, how, plan, seams, sweep)
    rates = [sweep.rate(step) for step in range(len(losses))]
    smoothed = _smooth(losses)
    return Curve(rates, losses, smoothed, valley(rates[_UNSURE:], smoothed[_UNSURE:]))


def suggested(plan: Plan, curve: Curve) -> Plan:
    """`plan` with the suggested rates, or as it was without a suggestion."""
    if curve.suggestion is None:
        return plan
    lowest, highest = plan.rates
    return replace(plan, rates=(curve.suggestion * lowest / highest, curve.suggestion))


def valley(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate in the middle of the longest series of ever lower losses; None if the loss falls by less than 1 %."""
    length, start = [1] * len(losses), list(range(len(losses)))
    for later, loss in enumerate(losses):
        for earlier in range(later):
            if loss < losses[earlier] and length[earlier] + 1 > length[later]:
                length[later], start[later] = length[earlier] + 1, start[earlier]
    end = max(range(len(losses)), key=length.__getitem__, default=0)
    if not losses or losses[end] > 0.99 * losses[start[end]]:
        return None
    return rates[(start[end] + end) // 2]


def _losses(
    network: Network, photos: Sequence[Photo], how: Preprocessing, plan: Plan, seams: Seams, sweep: Sweep
) -> list[float]:
    network.whole.to(seams.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    chosen = layers.unfreeze(network, plan.layers)
    # With 1 as the head's highest rate, the share of it is the rate.
    optimizer = Optimizer(chosen, replace(plan, rates=(plan.rates[0] / plan.rates[1], 1.0)), seams)
    gradient = Gradient(Forward(network.whole, how, seams.device, seams.precision), None, plan.batch, seams.say)
    epochs = Epochs(photos, Augmentation(how, plan.augment, plan.seed), plan.batch)
    losses: list[float] = []
    for epoch in range(-(-sweep.steps // epochs.steps)):
        for batch in epochs.run(epoch, 0):
            losses.append(_step(gradient, optimizer, batch, sweep.rate(len(losses))))
            if len(losses) == sweep.steps or _ran_away(losses):
                return losses
    return losses


def _step(gradient: Gradient, optimizer: Optimizer, batch: Batch, rate: float) -> float:
    loss, _ = gradient.of(batch, optimizer.scale)
    optimizer.step(rate, _MOMENTUM)
    return loss / len(batch.labels)


def _ran_away(losses: list[float]) -> bool:
    smoothed = _smooth(losses)
    return not smoothed[-1] <= _RUNAWAY * min(smoothed)


def _smooth(losses: Sequence[float]) -> list[float]:
    """The exponential mean, free of the bias towards its start at 0."""
    smoothed, mean = [], 0.0
    for count, loss in enumerate(losses, 1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        smoothed.append(mean / (1 - _SMOOTHING**count))
    return smoothed
