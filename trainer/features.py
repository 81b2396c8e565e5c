"""The frozen part of a network, run once over every photograph."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .images import Preprocessing, Undecodable, decode
from .models import Network
from .store import Row, Store

Matrix = numpy.ndarray[Any, numpy.dtype[numpy.float32]]
Say = Callable[[str], None]


@dataclass
class Table:
    """One row of features for each path, in their order; the rows of `broken` (index: why) are zero."""

    rows: Matrix
    broken: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Read:
    """What a reader thread found: a finished row, or pixels to compute one from, or what is wrong."""

    digest: bytes = b""
    row: Row | None = None
    pixels: numpy.ndarray[Any, numpy.dtype[numpy.uint8]] | None = None
    fault: str = ""


class Extractor:
    """Photographs in, features out: the mean over the photograph and its mirror image."""

    def __init__(self, network: Network, how: Preprocessing, device: torch.device, batch: int) -> None:
        self.how = how
        self.width = network.width
        self._device = device
        self._batch = batch
        self._net = _frozen(network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean = torch.tensor(how.mean, device=device).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(how.std, device=device).view(1, 3, 1, 1) * 255

    def run(
        self, paths: Sequence[Path], store: Store, say: Say, *, left: Callable[[float], None] | None = None
    ) -> Table:
        """The features of `paths`, from `store` where it has them; `say` hears of the progress once a second, `left`
        of the seconds that the rest will take once a few batches have been computed."""
        table = Table(numpy.zeros((len(paths), self.width), dtype=numpy.float32))
        waiting: list[tuple[int, _Read]] = []
        pace = _Pace(len(paths), say)
        for index, read in enumerate(_readers(paths, self.how, store, 3 * self._batch)):
            if read.fault:
                table.broken[index] = read.fault
            elif (row := store.get(read.digest)) is not None:
                # Asked again: the same photograph under another name may have been computed since it was read.
                table.rows[index] = row
            else:
                waiting.append((index, read))
            if len(waiting) == self._batch:
                self._finish(waiting, table, store)
                pace.computed(index + 1, left or _nobody)
            if index + 1 < len(paths):
                pace.tell(index + 1 - len(waiting))
        self._finish(waiting, table, store)
        pace.tell(len(paths))
        return table

    def _finish(self, waiting: list[tuple[int, _Read]], table: Table, store: Store) -> None:
        if not waiting:
            return
        rows = self._compute(torch.from_numpy(numpy.stack([read.pixels for _, read in waiting])))  # type: ignore
        found = [(read.digest, row) for (_, read), row in zip(waiting, rows, strict=True)]
        # The first of two that are the same photograph counts, as it does for a run that finds it in the store.
        store.put({digest: row for digest, row in reversed(found) if numpy.isfinite(row).all()})
        for index, read in waiting:
            if (kept := store.get(read.digest)) is not None:
                table.rows[index] = kept
            else:
                table.broken[index] = "the network gives no finite answer for it"
        waiting.clear()

    def _compute(self, pixels: Tensor) -> Matrix:
        try:
            return self._forward(pixels)
        except torch.cuda.OutOfMemoryError:
            if len(pixels) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(pixels) // 2
        return numpy.concatenate([self._compute(pixels[:half]), self._compute(pixels[half:])])

    @torch.inference_mode()
    def _forward(self, pixels: Tensor) -> Matrix:
        planes = pixels.to(self._device).permute(0, 3, 1, 2)
        inputs = ((planes.float() - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        features = (self._net(inputs) + self._net(inputs.flip(3))) / 2
        return features.float().cpu().numpy()  # type: ignore[no-any-return]


def _frozen(network: Network) -> nn.Module:
    """A copy without its head, each batch norm that follows its convolution folded into it."""
    whole = network.whole.get_submodule(network.head)
    network.set_head(nn.Identity())
    copy = deepcopy(network.whole).eval().requires_grad_(False)
    network.set_head(whole)
    for part in list(copy.modules()):
        if isinstance(part, nn.Sequential):
            for first, second in zip(list(part._modules), list(part._modules)[1:], strict=False):
                one, two = part._modules[first], part._modules[second]
                if isinstance(one, nn.Conv2d) and isinstance(two, nn.BatchNorm2d):
                    part._modules[first] = fuse_conv_bn_eval(one, two)
                    part._modules[second] = nn.Identity()
    return copy


def _readers(paths: Sequence[Path], how: Preprocessing, store: Store, ahead: int) -> Iterator[_Read]:
    """What is in each path, in their order, read by a thread for each processor and at most `ahead` at a time."""
    pending: deque[Future[_Read]] = deque()
    with ThreadPoolExecutor(processors(), "reader") as pool:
        try:
            for path in paths:
                pending.append(pool.submit(_read, path, how, store))
                if len(pending) >= ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _read(path: Path, how: Preprocessing, store: Store) -> _Read:
    try:
        content = path.read_bytes()
        digest = hashlib.sha256(content).digest()
        row = store.get(digest)
        return _Read(digest, row) if row is not None else _Read(digest, pixels=decode(content, how))
    except OSError as error:
        return _Read(fault=f"it cannot be read: {error.strerror or error}")
    except Undecodable as error:
        return _Read(fault=str(error))


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _nobody(_seconds: float) -> None:
    """Who hears of an estimate that nobody asked for."""


class _Pace:
    """Progress in words, at most once a second."""

    def __init__(self, total: int, say: Say) -> None:
        self._total, self._say = total, say
        self._began = self._told = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._batches = 0

    def computed(self, done: int, left: Callable[[float], None]) -> None:
        """A batch more. The first one, which waits for the readers and the GPU's libraries, tells nothing."""
        now = time.monotonic()
        self._batches += 1
        if self._first is None:
            self._first = done, now
        elif self._batches & (self._batches - 1) == 0:
            # After 2, 4, 8, ... batches: each time with twice as much to judge by.
            left((self._total - done) * (now - self._first[1]) / (done - self._first[0]))

    def tell(self, done: int) -> None:
        now = time.monotonic()
        if now - self._told >= 1 or (done == self._total and done):
            self._told = now
            speed = done / max(now - self._began, 1e-3)
            self._say(f"features {done}/{self._total}  {speed:.0f} images/s")
