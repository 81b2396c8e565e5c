"""Photographs off the disk: read, named by their bytes and decoded by a thread for each processor. No torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from .images import Cut, Undecodable, decode
from .lookahead import lookahead
from .recipe import Recipe
from .stages import Stages

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]


@dataclass(frozen=True)
class Read:
    """What a thread found: the SHA-256 of the bytes, with the pixels if they are wanted; or what is wrong."""

    digest: bytes = b""
    pixels: Pixels | None = None
    fault: str = ""


@dataclass(frozen=True)
class Reader:
    """Reads for one recipe; what is `known` by its digest is not decoded."""

    recipe: Recipe
    known: Callable[[bytes], bool]
    stages: Stages

    def all(self, paths: Sequence[Path], pool: ThreadPoolExecutor, ahead: int) -> Generator[Read, None, None]:
        """What is in each path, in their order, at most `ahead` at a time."""
        return lookahead(pool, self._one, paths, ahead)

    def _one(self, path: Path) -> Read:
        try:
            with self.stages.during("decode", processors()):
                content = path.read_bytes()
                digest = hashlib.sha256(content).digest()
                if self.known(digest):
                    return Read(digest)
                return Read(digest, decode(content, self.recipe.preprocessing, self._cut(digest)))
        except OSError as error:
            return Read(fault=f"it cannot be read: {error.strerror or error}")
        except Undecodable as error:
            return Read(fault=str(error))

    def _cut(self, digest: bytes) -> Cut | None:
        view, seed = self.recipe.view, self.recipe.seed
        return Cut(f"{seed} {view} {digest.hex()}") if view else None


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
