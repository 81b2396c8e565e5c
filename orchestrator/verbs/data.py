"""Data sets at home, made from archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..data import layout
from ..data import prepare as preparing
from ..data.split import Shares
from .desk import Desk


def prepare(
    desk: Desk, name: str, archives: Sequence[Path], *, seed: int = 0, shares: Shares | None = None
) -> layout.Counts:
    """Make `data/NAME` from Kaggle's archives or from class folders."""
    return preparing.prepare(name, archives, root=desk.data, seed=seed, shares=shares, reporter=desk.reporter)
