"""Where the time of a run goes: decoding, copying, computing, fitting, writing, or waiting."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

IDLE = "idle"


class Stages:
    """A ledger of seconds by stage; thread-safe.

    Of `lanes` threads that do a stage side by side each counts for its share, so that the stages of a busy machine
    add up to the seconds that have passed. A stage inside another one is counted once, as the inner one.
    """

    def __init__(self, began: float | None = None) -> None:
        """`began`: the reading of `time.monotonic()` from which on seconds count; now, unless it is given."""
        self.began = time.monotonic() if began is None else began
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._inner = threading.local()

    @contextmanager
    def during(self, stage: str, lanes: int = 1) -> Iterator[None]:
        outside = getattr(self._inner, "seconds", 0.0)
        self._inner.seconds = 0.0
        began = time.monotonic()
        try:
            yield
        finally:
            passed = time.monotonic() - began
            self.add(stage, (passed - self._inner.seconds) / lanes)
            self._inner.seconds = outside + passed

    def add(self, stage: str, seconds: float) -> None:
        """What was measured elsewhere: the imports before there was a ledger."""
        with self._lock:
            self._seconds[stage] += max(seconds, 0.0)

    def document(self) -> dict[str, float]:
        """Seconds by stage, the longest first; `idle` is what no stage accounts for, and stands last."""
        with self._lock:
            told = {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}
        rest = time.monotonic() - self.began - sum(told.values())
        return {**dict(sorted(told.items(), key=lambda item: -item[1])), IDLE: round(max(rest, 0.0), 3)}

    def limiting(self) -> str:
        """The stage that took longest; empty before there is one."""
        return next((stage for stage in self.document() if stage != IDLE), "")
