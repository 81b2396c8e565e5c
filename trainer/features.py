"""The frozen part of a network, run once over every photograph."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import torch

from . import precision
from .frozen import Frozen, Matrix
from .images import Preprocessing
from .models import Network
from .reading import Pixels, Read, Reader, processors
from .recipe import Recipe
from .stages import Stages
from .store import Store

Say = Callable[[str], None]
_CPU_AT_ONCE = 8
"""Inputs of one forward on a CPU: what passes from layer to layer stays in the processor's cache."""
_CPU_THREADS = 8
"""Forwards side by side on a CPU; with more, they would wait for Python. Each has its share of the processors."""


@dataclass
class Table:
    """One row of features for each path, in their order; the rows of `broken` (index: why) are zero."""

    rows: Matrix
    broken: dict[int, str] = field(default_factory=dict)


class Extractor:
    """Photographs in, features out.

    View 0 is the mean over the photograph and its mirror image; view k > 0 is a random part of it, cut by seed.
    """

    def __init__(
        self,
        network: Network,
        how: Preprocessing,
        device: torch.device,
        batch: int,
        *,
        arithmetic: torch.dtype | None = None,
        stages: Stages | None = None,
    ) -> None:
        """`arithmetic` None: the fastest that is precise enough (`precision.choose`)."""
        self.how = how
        self.width = network.width
        self.forwards = 0
        """Photographs that went through the network: what the cache had not."""
        self._names = network.name, network.head
        self._batch = batch
        self._stages = stages or Stages()
        with self._stages.during("prepare"):
            self._frozen = Frozen(network, how, device, arithmetic or precision.choose(device))

    def recipe(self, weights: str, *, view: int = 0, seed: int = 0) -> Recipe:
        """The key of these features in the cache; `weights` is the SHA-256 of their file."""
        arithmetic, device = precision.name(self._frozen.precision), self._frozen.device.type
        whole = Recipe(self._names[0], weights, self._names[1], self.how, arithmetic, device)
        return whole.of_view(view, seed)

    def run(
        self, paths: Sequence[Path], store: Store, say: Say, *, left: Callable[[float], None] | None = None
    ) -> Table:
        """The features of `paths` by the store's recipe, from `store` where it has them.

        `say` hears of the progress once a second, `left` of the seconds that the rest will take once a few batches
        have been computed.
        """
        table = Table(numpy.zeros((len(paths), self.width), dtype=numpy.float32))
        reader = Reader(store.recipe, store.__contains__, self._stages)
        pace = _Pace(len(paths), say, left or _nobody)
        with _pools(self._frozen.device) as (readers, computers):
            work = _Pass(table, store, self._forward(store.recipe, computers), self._size(store.recipe))
            with closing(reader.all(paths, readers, 3 * self._batch)) as reads:
                for index, read in enumerate(reads):
                    work.take(index, read)
                    while work.ahead > 2 * _lanes(self._frozen.device):
                        self.forwards += work.settle()
                        pace.computed(index + 1)
                    if index + 1 < len(paths):
                        pace.tell(index + 1 - work.unsettled)
            work.submit()
            while work.ahead:
                self.forwards += work.settle()
        pace.tell(len(paths))
        return table

    def of(self, pixels: Pixels) -> Matrix:
        """(n, width) of photographs that are decoded already, (n, size, size, 3): view 0, beside the cache."""
        parts = [pixels[start : start + self._batch] for start in range(0, len(pixels), self._batch)]
        rows = [self._frozen.features(part, self._stages, 1, mirrored=True) for part in parts]
        return numpy.concatenate([numpy.zeros((0, self.width), dtype=numpy.float32), *rows])

    def _size(self, recipe: Recipe) -> int:
        """Photographs of one forward."""
        if self._frozen.device.type != "cpu":
            return self._batch
        return min(self._batch, _CPU_AT_ONCE if recipe.view else _CPU_AT_ONCE // 2)

    def _forward(self, recipe: Recipe, pool: ThreadPoolExecutor) -> Callable[[list[Read]], Future[Matrix]]:
        lanes = _lanes(self._frozen.device)

        def rows(reads: list[Read]) -> Matrix:
            with self._stages.during("copy", lanes):
                pixels = numpy.stack([read.pixels for read in reads if read.pixels is not None])
            return self._frozen.features(pixels, self._stages, lanes, mirrored=recipe.view == 0)

        return lambda reads: pool.submit(rows, reads)


class _Pass:
    """The photographs that are on their way through the network.

    Which of them go through it together, and which of two that are the same counts (the first), depends on their
    order alone, and neither on the pace of the threads nor on an interruption: the bits of a row may depend on it.
    """

    def __init__(self, table: Table, store: Store, forward: Callable[[list[Read]], Future[Matrix]], size: int) -> None:
        self._table, self._store, self._forward, self._size = table, store, forward, size
        self._waiting: list[Read] = []
        self._computing: deque[tuple[list[Read], Future[Matrix]]] = deque()
        self._indices: dict[bytes, list[int]] = {}
        """Of each photograph that had to be computed, all the places in the table."""
        self._faults: dict[bytes, str] = {}

    @property
    def ahead(self) -> int:
        """Batches that are being computed."""
        return len(self._computing)

    @property
    def unsettled(self) -> int:
        """Photographs whose rows are not there yet."""
        return len(self._waiting) + sum(len(reads) for reads, _ in self._computing)

    def take(self, index: int, read: Read) -> None:
        if read.fault:
            self._table.broken[index] = read.fault
        elif read.digest in self._faults:
            self._table.broken[index] = self._faults[read.digest]
        elif (row := self._store.get(read.digest)) is not None:
            self._table.rows[index] = row
        elif read.digest in self._indices:
            self._indices[read.digest].append(index)
        else:
            self._indices[read.digest] = [index]
            self._waiting.append(read)
            if len(self._waiting) == self._size:
                self.submit()

    def submit(self) -> None:
        """Send what waits through the network, full batch or not."""
        if self._waiting:
            self._computing.append((self._waiting, self._forward(self._waiting)))
            self._waiting = []

    def settle(self) -> int:
        """Wait for the oldest batch; how many photographs it had."""
        reads, future = self._computing.popleft()
        found = {read.digest: row for read, row in zip(reads, future.result(), strict=True)}
        self._store.put({digest: row for digest, row in found.items() if numpy.isfinite(row).all()})
        for digest in found:
            row = self._store.get(digest)
            if row is None:
                self._faults[digest] = "the network gives no finite answer for it"
            for index in self._indices[digest]:
                if row is None:
                    self._table.broken[index] = self._faults[digest]
                else:
                    self._table.rows[index] = row
        return len(found)


def _lanes(device: torch.device) -> int:
    """Threads that run the network side by side: on a GPU, one prepares while the other waits for it."""
    return 2 if device.type == "cuda" else min(processors(), _CPU_THREADS)


@contextmanager
def _pools(device: torch.device) -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor]]:
    """Who reads and who computes. On a CPU they are the same threads, as many as there are processors, and each
    forward keeps to its own: threads that share one forward wait for each other at every layer."""
    if device.type == "cuda":
        with ThreadPoolExecutor(processors(), "reader") as readers, ThreadPoolExecutor(2, "forward") as computers:
            yield readers, computers
        return
    lanes, before = _lanes(device), torch.get_num_threads()
    torch.set_num_threads(max(processors() // lanes, 1))
    try:
        with ThreadPoolExecutor(lanes, "feature") as pool:
            yield pool, pool
    finally:
        torch.set_num_threads(before)


def _nobody(_seconds: float) -> None:
    """Who hears of an estimate that nobody asked for."""


class _Pace:
    """Progress in words, at most once a second."""

    def __init__(self, total: int, say: Say, left: Callable[[float], None]) -> None:
        self._total, self._say, self._left = total, say, left
        self._began = self._told = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._batches = 0

    def computed(self, done: int) -> None:
        """A batch more. The first one, which waits for the readers and the GPU's libraries, tells nothing."""
        now = time.monotonic()
        self._batches += 1
        if self._first is None:
            self._first = done, now
        elif self._batches & (self._batches - 1) == 0 and done > self._first[0]:
            # After 2, 4, 8, ... batches: each time with twice as much to judge by.
            self._left((self._total - done) * (now - self._first[1]) / (done - self._first[0]))

    def tell(self, done: int) -> None:
        now = time.monotonic()
        if now - self._told >= 1 or (done == self._total and done):
            self._told = now
            speed = done / max(now - self._began, 1e-3)
            self._say(f"features {done}/{self._total}  {speed:.0f} images/s")
