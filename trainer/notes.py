"""What a notebook, or a terminal, is told while something lasts: one line that changes, and those that stay."""

from __future__ import annotations

import builtins
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import fit

_BAR = "=" * 30


class Notes:
    """Lines on stdout. What only tells of progress is written over where that can be seen, and stays in a log."""

    def __init__(self) -> None:
        self._shown = 0

    def line(self, words: str) -> None:
        """One that stays."""
        self._wipe()
        print(words, flush=True)

    def begin(self) -> float:
        """The reading of the clock from which on `epochs` counts."""
        return time.monotonic()

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """Who tells of progress; at the end the line is gone."""
        try:
            yield self._over if _is_seen() else self.line
        finally:
            self._wipe()

    def epochs(self, photographs: int, began: float) -> Callable[[dict[str, Any]], None]:
        """Who tells of each pass over so many `photographs`, in Keras's words; the first counts from `began` on."""

        def tell(entry: dict[str, Any]) -> None:
            nonlocal began
            now = time.monotonic()
            title, *figures = fit.line(entry).split(" - ")
            self.line(title)
            self.line(" - ".join([f"{photographs}/{photographs} [{_BAR}]", f"{now - began:.0f}s", *figures]))
            began = now

        return tell

    def _over(self, words: str) -> None:
        print(f"\r{words.ljust(self._shown)}", end="", flush=True)
        self._shown = len(words)

    def _wipe(self) -> None:
        if self._shown:
            print(f"\r{' ' * self._shown}\r", end="", flush=True)
            self._shown = 0


def _is_seen() -> bool:
    """Whether somebody watches: a terminal, or IPython, which sets this name in a notebook, too."""
    return sys.stdout.isatty() or hasattr(builtins, "__IPYTHON__")
