"""How a verb tells what it does, without knowing whether a person, a pipe or a test listens."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """One bar, or its plain lines."""

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        """`done` of `total` units so far (a `total` of None keeps the one given before)."""


class Reporter(Protocol):
    """Everything a verb may say. All of it goes to stderr; stdout belongs to results."""

    def line(self, text: str) -> None:
        """One line of what is going on."""

    def progress(self, title: str, total: float | None = None, unit: str = "") -> AbstractContextManager[Progress]:
        """A bar for work that lasts; `unit` is "B" for bytes, otherwise a noun such as "images"."""

    def confirm(self, question: str) -> bool:
        """Ask before money is spent or something is deleted; raises `Declined` where nobody can be asked."""


class Silent:
    """The reporter of a caller who wants only the result: says nothing, agrees to nothing."""

    def line(self, text: str) -> None:
        del text

    def progress(self, title: str, total: float | None = None, unit: str = "") -> AbstractContextManager[Progress]:
        del title, total, unit
        return _NoBar()

    def confirm(self, question: str) -> bool:
        del question
        return False


class _NoBar(AbstractContextManager[Progress]):
    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        del done, total, note
