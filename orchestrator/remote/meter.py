"""A copy's progress: files, bytes, rate and the time that is left."""

from __future__ import annotations

import time

from ..reporter import Progress

EVERY_SECONDS = 0.1
THERE = "it is there already"
"""Instead of figures, where nothing was to be copied."""


class Meter:
    """`total` in bytes; what has arrived in an earlier attempt counts as done, but not for the rate."""

    def __init__(self, progress: Progress, total: int, *, done: int = 0, files: int = 0) -> None:
        self._progress, self.total, self._files = progress, total, files
        self._done, self._start, self._finished = done, done, 0
        self._began = time.monotonic()
        self._last = 0.0

    def bytes(self, count: int) -> None:
        self._done += count
        self._show()

    def file(self) -> None:
        self._finished += 1
        self._show()

    def end(self) -> None:
        if not self._files:
            self._progress.update(0, 0, THERE)
            return
        self._done = self.total
        self._progress.update(self.total, self.total, self._note())

    def _show(self) -> None:
        now = time.monotonic()
        # The end is shown once, when it is true: what has been handed to ssh has not arrived yet.
        if now - self._last >= EVERY_SECONDS and self._done < self.total:
            self._last = now
            self._progress.update(self._done, self.total, self._note())

    def _note(self) -> str:
        seconds = time.monotonic() - self._began
        rate = (self._done - self._start) / seconds if seconds > 0 else 0.0
        words = [f"{self._finished:,} of {self._files:,} files", f"{rate / 1e6:.1f} MB/s"]
        if rate and self._done < self.total:
            words.append(f"{_span((self.total - self._done) / rate)} left")
        return ", ".join(words)


def _span(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
