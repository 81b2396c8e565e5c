"""A published network with its weights in place: what it sees in photographs, each looked at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from . import device, layers, models, weights
from .features import Extractor, Table
from .fit import Head
from .images import Preprocessing
from .reading import Pixels
from .store import Store

Say = Callable[[str], None]
_BATCH = 32


@dataclass(frozen=True)
class Place:
    """Where a network is, and where it leaves what it has seen."""

    cache: Path
    device: str = "auto"


class Backbone:
    """The frozen part of `model`; `head` is the published one, None where the file has none."""

    def __init__(self, model: str, source: weights.Weights, place: Place) -> None:
        """TrainerError when the weights are of another model, or the machine's GPU cannot be used."""
        self.name, self.source = model, source
        self.device = device.choose(place.device)
        self.how: Preprocessing = models.preprocessing(model)
        published = weights.load(source)
        network = models.build(model)
        models.load(network, published)
        self.head = _head(network, published)
        self.layers = [(each.name, sum(p.numel() for p in each.parameters.values())) for each in layers.layers(network)]
        """The names of what has parameters, and how many each has; the head is the last."""
        self._extractor = Extractor(network, self.how, self.device, _BATCH)
        self._store = Store(place.cache, self._extractor.recipe(source.sha256), network.width)

    @property
    def width(self) -> int:
        """Features of a photograph."""
        return self._extractor.width

    def table(self, paths: Sequence[Path], say: Say) -> Table:
        """The features of photographs, from the cache where it has them; `say` hears of the progress."""
        try:
            return self._extractor.run(paths, self._store, say)
        finally:
            self._store.save()

    def rows(self, pixels: Pixels) -> Tensor:
        """(n, width) of photographs that are decoded already, (n, size, size, 3) bytes."""
        return torch.from_numpy(self._extractor.of(pixels))


def _head(network: models.Network, published: dict[str, Tensor]) -> Head | None:
    found = models.published_head(network, published)
    return None if found is None else Head(found[0].double(), found[1].double(), 0.0)
