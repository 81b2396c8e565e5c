"""Files that are either whole or not there: written beside their place, flushed to the disk, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

WRITE_SECONDS = 2.0
_SHARE = 0.05
"""Of the time, at most so much is spent on writing checkpoints."""
_PARTIAL = ".partial"


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step; OSError leaves what was there."""
    _write(path, (content,))


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PARTIAL, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def write_weights(path: Path, state: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> None:
    """The tensors of `state` as one safetensors file, `facts` in its header."""
    _write(path, _safetensors(state, facts or {}))


_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
          "uint8": "U8", "bool": "BOOL"}  # fmt: skip


def _safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """The file in pieces (the format: github.com/huggingface/safetensors#format).

    The library would copy all of it into memory first, and ends the process where there is too little: just then, a
    checkpoint is wanted.
    """
    import torch

    # The longest elements first: so each tensor begins where its elements may.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        kind = _TYPES[str(tensor.dtype).rpartition(".")[2]]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for name in order:
        plain = tensors[name].detach().cpu().contiguous()
        yield plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b""


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left in `folder`; nobody may be writing there."""
    for left in folder.glob(f".*{_PARTIAL}"):
        left.unlink(missing_ok=True)


class Progress:
    """How far a fit has come, in one file that is whole or not there. `facts` goes with every `save`.

    A disk that is full, or fails, costs what would have been written: the last whole file stays and the fit goes on.
    """

    def __init__(self, path: Path, key: str, say: Callable[[str], None] | None = None) -> None:
        """What the file holds is taken only if it was written under the same `key`: the same photographs and wish.

        `say` hears of it when the file can no longer be written. What a killed writer left beside it is removed.
        """
        self._path, self._key, self._say = path, key, say
        self.tensors: dict[str, Tensor] = {}
        self.facts: dict[str, Any] = {}
        self._waiting: tuple[dict[str, Tensor], str] | None = None
        self._written = time.monotonic()
        self._cost = 0.0
        self._failing = False
        sweep(path.parent)
        self._read()

    def due(self) -> bool:
        """Whether it is time to write again: the disk must not slow down the fit."""
        return time.monotonic() - self._written >= max(WRITE_SECONDS, self._cost / _SHARE)

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Remember this state, and write it if that is `due`."""
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        self._waiting = plain, json.dumps(self.facts)
        if self.due():
            self.flush()

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Write this state now, without the copy that `save` makes of it."""
        self._write(tensors, json.dumps(self.facts))

    def flush(self) -> None:
        """Write the newest state if it has not been."""
        if self._waiting is not None and self._write(*self._waiting):
            self._waiting = None

    def _write(self, tensors: Mapping[str, Tensor], facts: str) -> bool:
        began = time.monotonic()
        try:
            _write(self._path, _safetensors(tensors, {"key": self._key, "facts": facts}))
            self._failing = False
        except OSError as error:
            self._warn(error)
        self._written = time.monotonic()
        self._cost = self._written - began
        return not self._failing

    def _warn(self, error: OSError) -> None:
        if self._say is not None and not self._failing:
            self._say(
                f"warning: {self._path} cannot be written ({error.strerror or error}): what it held stays, "
                "and the training goes on"
            )
        self._failing = True

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
