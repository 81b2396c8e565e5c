"""Files that are either whole or not there: written beside their place, flushed to the disk, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

WRITE_SECONDS = 2.0


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step; OSError leaves what was there."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """The tensors of `state` as one safetensors file."""
    import safetensors.torch

    # Tensors that share their memory (or are views) are no safetensors; a copy of each is.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_bytes(path, safetensors.torch.save(plain))


class Progress:
    """How far a fit has come, in one file that is whole or not there. `facts` goes with every `save`."""

    def __init__(self, path: Path, key: str) -> None:
        """What the file holds is taken only if it was written under the same `key`: the same photographs and wish."""
        self._path, self._key = path, key
        self.tensors: dict[str, Tensor] = {}
        self.facts: dict[str, Any] = {}
        self._waiting: tuple[dict[str, Tensor], str] | None = None
        self._written = time.monotonic()
        self._read()

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Remember this state, and write it unless one has just been written: the disk must not slow down the fit."""
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        self._waiting = plain, json.dumps(self.facts)
        if time.monotonic() - self._written >= WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the newest state if it has not been."""
        import safetensors.torch

        if self._waiting is None:
            return
        tensors, facts = self._waiting
        write_bytes(self._path, safetensors.torch.save(tensors, {"key": self._key, "facts": facts}))
        self._waiting, self._written = None, time.monotonic()

    def _read(self) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path, "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") == self._key:
                    self.facts = json.loads(metadata["facts"])
                    self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, KeyError, SafetensorError):
            # None, or damaged: what it held is computed again.
            self.tensors, self.facts = {}, {}


def write_sums(path: Path, names: Iterable[str]) -> None:
    """`SHA256SUMS` as `sha256sum -c` reads it, of the files `names` beside it."""
    lines = [f"{digest(path.parent / name)}  {name}\n" for name in names]
    write_bytes(path, "".join(lines).encode())


def digest(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    running = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            running.update(block)
    return running.hexdigest()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
