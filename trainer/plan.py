"""How the layers that were frozen are to be trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Plan:
    """What was asked for. `layers` before the head learn, None: all of them."""

    epochs: int = 5
    layers: int | None = None
    batch: int = 32
    """Photographs to a step, however many of them memory takes at once."""
    rates: tuple[float, float] = (1e-5, 1e-4)
    """The highest learning rate of the first layer that learns, and of the head.

    Seen with one seed, on 640 photographs of cats and dogs at 64 pixels (efficientnet_lite0, 6 epochs, the best kept),
    as log loss on 160 others: 0.329 frozen, 0.310 with these on all layers and 0.301 on the last 6, 0.322 with three
    times as much and 0.301 with ten times, both up and down between epochs, 0.293 with SGD at 1e-2. So few
    photographs do not tell the last five apart."""
    decay: float = 0.01
    seed: int = 0
    augment: float = 0.3
    """0 (not at all) to 1."""
    views: int = 2
    """How often each validation photograph is looked at: 1, 2 (with its mirror image) to 10."""
    balanced: bool = False
    """Whether every class counts the same, however many photographs it has."""
    patience: int = 5
    """End after so many epochs without a better log loss on the validation photographs; those of a cycle's last third
    are its best, so that a small number costs more than it saves."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Seams:
    """What a training meets: the machine, the file that it goes on from, and who hears of it."""

    device: torch.device
    checkpoint: Path
    say: Callable[[str], None]
    tell: Callable[[dict[str, Any]], None]
    """Hears of each epoch once, of those of an interrupted attempt too; epoch 0 is the network before."""
    precision: torch.dtype = torch.float32
