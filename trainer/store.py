"""The cache of features: files that never change, each named by the SHA-256 of its own bytes.

A file whose bytes do not give its name is damaged; it is removed and its features are computed again.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy
import safetensors.numpy

from . import checkpoint
from .recipe import Recipe

Row = numpy.ndarray[Any, numpy.dtype[numpy.float32]]
_SHARD = 4096
_SAVE_SECONDS = 60.0


class Store:
    """Feature rows of `width` floats by the SHA-256 of an image's bytes, for one way of computing them (`recipe`)."""

    def __init__(self, cache: Path, recipe: Recipe, width: int) -> None:
        self.recipe = recipe
        self.folder = cache / "features" / recipe.key()[:32]
        self.damaged = 0
        self.fault = ""
        """Why the last attempt to write failed: the rows that are new are in memory alone."""
        self._width = width
        self._rows: dict[bytes, Row] = {}
        self._fresh: list[bytes] = []
        self._saved = time.monotonic()
        for path in sorted(self.folder.glob("*.safetensors")):
            self._read(path)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, digest: object) -> bool:
        return digest in self._rows

    def get(self, digest: bytes) -> Row | None:
        return self._rows.get(digest)

    def put(self, rows: dict[bytes, Row]) -> None:
        """Keep the rows of one batch: all of them or none, wherever a signal strikes.

        A resumed run so computes the other photographs in the same batches as one that was never interrupted, and
        with that to the same bits.
        """
        fresh = {digest: row for digest, row in rows.items() if digest not in self._rows}
        self._rows.update(fresh)
        self._fresh.extend(fresh)
        # On a full disk all that has gathered would be hashed and written for nothing with each batch.
        full = len(self._fresh) >= _SHARD and not self.fault
        if full or time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write what is new as one more file; a full disk costs the cache only, and never the run."""
        if not self._fresh:
            return
        keys = numpy.frombuffer(b"".join(self._fresh), dtype=numpy.uint8).reshape(-1, 32)
        rows = numpy.stack([self._rows[digest] for digest in self._fresh])
        content = safetensors.numpy.save({"keys": keys.copy(), "rows": rows})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"{hashlib.sha256(content).hexdigest()}.safetensors"
            checkpoint.write_bytes(self.folder / name, content)
        except OSError as error:
            self.fault = error.strerror or str(error)
            self._saved = time.monotonic()
            return
        self._fresh.clear()
        self.fault = ""
        self._saved = time.monotonic()

    def _read(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError:
            return
        if hashlib.sha256(content).hexdigest() != path.stem:
            self.damaged += 1
            path.unlink(missing_ok=True)
            return
        tensors = safetensors.numpy.load(content)
        if tensors["rows"].shape[1] == self._width:
            self._rows.update(zip((key.tobytes() for key in tensors["keys"]), tensors["rows"], strict=True))
