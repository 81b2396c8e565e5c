"""Looking at a data set: what is wrong with it, and what its images show."""

from __future__ import annotations

from pathlib import Path

from ..data import check as checking
from ..data import layout, sheets
from .desk import Desk


def check(desk: Desk, name: str, *, fix: bool = False) -> checking.Report:
    """Everything worth knowing about `data/NAME`; with `fix`, broken and superfluous images are set aside first."""
    layout.folder(desk.data, name)
    return checking.check(desk.data, name, desk.reporter, fix=fix)


def show(desk: Desk, name: str, *, most: int, seed: int = 0) -> Path:
    """Write a page with at most `most` images of each class and part; returns its path."""
    layout.folder(desk.data, name)
    return sheets.write(desk.data, name, desk.reporter, most=most, seed=seed)
