"""What a run may cost: what it is expected to, in dollars, and the second at which it has to end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import run_folder

BY_BATCHES = "by its first batches; the fit, not known yet, is counted as a tenth"
BY_PACE = "by the pace of the fit"
PACE_SECONDS = 5.0
"""For so long the fit's pace is watched before it is believed."""


@dataclass(frozen=True)
class Estimate:
    """Of a whole attempt, in seconds, and what it goes by."""

    seconds: float
    basis: str


class Allowance:
    """Of one attempt; nothing is limited without a budget and a price."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.budget = _positive(job.get("budget"))
        self.price = _positive(job.get("price_per_hour"))

    @property
    def seconds(self) -> float | None:
        """How long the trainer may run; None: as long as it likes."""
        return self.budget / self.price * 3600 if self.budget and self.price else None

    def sentence(self, estimate: Estimate) -> str:
        """What it is expected to cost, and what then happens."""
        if not (self.budget and self.price):
            return ""
        dollars = estimate.seconds / 3600 * self.price
        cost = f"${dollars:.2f} of the budget of ${self.budget:g}"
        text = f"expected: about {spoken(estimate.seconds)}, {cost} ({estimate.basis})"
        if dollars <= self.budget:
            return text
        return f"{text}: after {spoken(self.budget / self.price * 3600)} it is checkpointed and ended"


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def spoken(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class Estimates:
    """How long an attempt will take, from metrics.jsonl, read as it is written.

    The trainer's own `estimate` lines tell it early: by the first batches of features, when nothing is known of the
    fit. Once that is under way its pace is measured.
    """

    def __init__(self, run: Path) -> None:
        self._file = run / run_folder.METRICS
        self._position = 0
        self._first: tuple[float, float] | None = None

    def new(self, elapsed: float) -> Estimate | None:
        """By what has been written since the last call; None where that says nothing new. `elapsed`: seconds so far."""
        found = None
        for event in map(_event, self._lines()):
            if event.get("event") == "estimate" and (seconds := _positive(event.get("seconds"))):
                found = Estimate(seconds, BY_BATCHES)
            elif event.get("event") == "epoch":
                found = self._by_pace(event, elapsed) or found
        return found

    def _lines(self) -> list[bytes]:
        try:
            with self._file.open("rb") as stream:
                if stream.seek(0, 2) < self._position:
                    self._position = 0
                stream.seek(self._position)
                written = stream.read(1 << 20)
        except OSError:
            return []
        whole = written[: written.rfind(b"\n") + 1]
        self._position += len(whole)
        return whole.splitlines()

    def _by_pace(self, event: dict[str, Any], elapsed: float) -> Estimate | None:
        done, epochs = _positive(event.get("epoch")), _positive(event.get("epochs"))
        if not (done and epochs):
            return None
        if self._first is None or done <= self._first[0] or elapsed <= self._first[1]:
            # A resumed run tells its earlier epochs again, all at once: the last of them is where it goes on.
            self._first = (done, elapsed)
            return None
        if elapsed - self._first[1] < PACE_SECONDS:
            return None
        pace = (elapsed - self._first[1]) / (done - self._first[0])
        return Estimate(elapsed + pace * max(0.0, epochs - done), BY_PACE)


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
