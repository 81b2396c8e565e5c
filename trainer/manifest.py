"""What a run was made of, so that it can be made again: manifest.json.

It names no host, no user and no path but those inside the data set, and holds no secret.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import torch

from . import run_folder

VERSION = 1
_LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "safetensors")


@dataclass(frozen=True)
class Split:
    """The photographs of a split, and the SHA-256 of each file where it is known already."""

    name: str
    paths: Sequence[Path]
    digests: Sequence[bytes] | None = None


@dataclass(frozen=True)
class Spent:
    """What the run took; `price` in US dollars an hour, None where nobody said."""

    seconds: float
    price: float | None = None

    @property
    def dollars(self) -> float | None:
        return None if self.price is None else round(self.seconds / 3600 * self.price, 6)


def document(
    root: Path,
    splits: Iterable[Split],
    *,
    weights: Mapping[str, str],
    options: Mapping[str, Any],
    device: torch.device,
    spent: Spent,
) -> dict[str, Any]:
    """The manifest of a run on the data set at `root`.

    `weights` has `source` and `sha256`; `options` is what was asked for, the seed too, as JSON and without paths.
    """
    return {
        "version": VERSION,
        "data": {"name": root.name, **{split.name: _split(root, split) for split in splits}},
        "weights": {"source": without_secrets(weights["source"]), "sha256": weights["sha256"]},
        "code": {"trainer": code()},
        "versions": versions(),
        "requirements": requirements(),
        "hardware": hardware(device),
        "options": dict(options),
        "seconds": round(spent.seconds, 2),
        "price_per_hour": spent.price,
        "dollars": spent.dollars,
    }


def digest(root: Path, split: Split) -> str:
    """One SHA-256 over the sorted names under `root` and the digests of their files, as `sha256sum` lists them."""
    digests = split.digests if split.digests is not None else _digests(split.paths)
    named = {
        os.fsencode(path.relative_to(root).as_posix()): one for path, one in zip(split.paths, digests, strict=True)
    }
    running = hashlib.sha256()
    for name, one in sorted(named.items()):
        running.update(one.hex().encode() + b"  " + name + b"\0")
    return running.hexdigest()


def code() -> str:
    """The SHA-256 of this package: its files by name, compiled ones left out."""
    package = Path(__file__).parent
    paths = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return digest(package, Split("code", paths))


def versions() -> dict[str, str | None]:
    """Python and the libraries whose answers may differ from one version to the next."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    # With what it was built for, as 2.0.1+cu117: the name in the registry does not say.
    found["torch"] = str(torch.__version__)
    return found


def requirements() -> str | None:
    """The SHA-256 of the packages that the user has asked for besides; None where there are none."""
    try:
        return (Path(sys.prefix) / run_folder.REQUIREMENTS).read_text().strip()[:64] or None
    except (OSError, UnicodeDecodeError):
        return None


def hardware(device: torch.device) -> dict[str, Any]:
    """The processor, how many of its cores this process may use, the memory in GiB, and the GPU if it had one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: dict[str, Any] = {"system": f"{platform.system()} {platform.machine()}", "cpu": _processor(), "cores": cores}
    found["memory_gib"] = round(_memory() / 2**30, 1)
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        found["gpu"], found["gpu_memory_gib"] = about.name, round(about.total_memory / 2**30, 1)
        found["cuda"] = torch.version.cuda
    return found


def without_secrets(source: str) -> str:
    """A URL without user, password, query and fragment: they may be keys. Other words as they are."""
    try:
        parts = urlsplit(source)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a URL"
    if not parts.scheme or not host:
        return source
    return urlunsplit((parts.scheme, host + port, parts.path, "", ""))


def _split(root: Path, split: Split) -> dict[str, Any]:
    return {"photographs": len(split.paths), "sha256": digest(root, split)}


def _digests(paths: Sequence[Path]) -> list[bytes]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_digest, paths))


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        # It was quarantined: it counts as an empty file.
        return hashlib.sha256().digest()


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            named = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        named = []
    return named[0] if named else platform.machine()


def _memory() -> int:
    """Bytes that this process may have: the machine's, or less where a container is limited."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path(place).read_text()))
        except (OSError, ValueError):
            continue
    return min(sizes)
