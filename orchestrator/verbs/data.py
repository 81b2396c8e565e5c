"""Data sets at home: made from archives, fetched when known, listed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..data import fetch as fetching
from ..data import layout
from ..data import prepare as preparing
from ..data.split import Shares
from .desk import Desk


def prepare(
    desk: Desk, name: str, archives: Sequence[Path], *, seed: int = 0, shares: Shares | None = None
) -> layout.Counts:
    """Make `data/NAME` from Kaggle's archives or from class folders."""
    return preparing.prepare(name, archives, root=desk.data, seed=seed, shares=shares, reporter=desk.reporter)


def fetch(desk: Desk, name: str) -> layout.Counts:
    """Download a known data set, checked by its hash, and prepare it."""
    return fetching.fetch(name, root=desk.data, cache=desk.home.cache, reporter=desk.reporter)


def names(desk: Desk) -> list[layout.DataSet]:
    """The data sets at home, by name."""
    return [layout.DataSet(desk.data, name) for name in layout.names(desk.data)]
