"""Photographs in the order of an epoch, decoded ahead by a thread for each processor."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from .augment import Augmentation, Pixels
from .data import Photo
from .errors import TrainerError
from .images import Undecodable
from .lookahead import Item, Result, lookahead
from .reading import processors


@dataclass(frozen=True)
class Batch:
    """`pixels` (n, size, size, 3) bytes, `labels` (n)."""

    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Epochs:
    """Every photograph once an epoch, in batches of at most `size` that differ by one photograph at most."""

    photos: Sequence[Photo]
    augmentation: Augmentation
    size: int

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.photos) // self.size)

    def order(self, epoch: int) -> list[list[int]]:
        """The numbers of the photographs in each batch: a function of the seed and the epoch alone."""
        numbers = list(range(len(self.photos)))
        random.Random(f"{self.augmentation.seed} {epoch} order").shuffle(numbers)
        bounds = [len(numbers) * step // self.steps for step in range(self.steps + 1)]
        return [numbers[start:end] for start, end in itertools.pairwise(bounds)]

    def run(self, epoch: int, first: int) -> Generator[Batch, None, None]:
        """The batches of an epoch from its `first` on. TrainerError names a photograph that cannot be read."""
        batches = self.order(epoch)[first:]
        numbers = [number for batch in batches for number in batch]
        with closing(ahead(lambda number: self._pixels(epoch, number), numbers, 3 * self.size)) as decoded:
            for batch in batches:
                pixels = numpy.stack([next(decoded) for _ in batch])
                labels = torch.tensor([self.photos[number].label for number in batch])
                yield Batch(torch.from_numpy(pixels), labels)

    def _pixels(self, epoch: int, number: int) -> Pixels:
        path = self.photos[number].path
        try:
            return self.augmentation.pixels(path.read_bytes(), epoch, number)
        except (OSError, Undecodable) as error:
            raise unreadable(path, error) from error


def ahead(function: Callable[[Item], Result], items: Iterable[Item], most: int) -> Generator[Result, None, None]:
    """`function` of each item, in their order, `most` of them at a time under way in threads."""
    with ThreadPoolExecutor(processors(), "decoder") as pool:
        # Closed with this one, the inner generator cancels what has not begun.
        yield from lookahead(pool, function, items, most)


def unreadable(path: Path, error: Exception) -> TrainerError:
    """What is said of a photograph that could be read before."""
    return TrainerError(f"{path} can no longer be read ({error})", "Put it back, or take it out and run again")
