"""What a run may cost: the trainer's own estimate in dollars, and the second at which it has to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer import run_folder


class Allowance:
    """Of one attempt; nothing is limited without a budget and a price."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.budget = _positive(job.get("budget"))
        self.price = _positive(job.get("price_per_hour"))

    @property
    def seconds(self) -> float | None:
        """How long the trainer may run; None: as long as it likes."""
        return self.budget / self.price * 3600 if self.budget and self.price else None

    def sentence(self, estimate: float) -> str:
        """What a run of so many seconds is expected to cost, and what then happens."""
        if not (self.budget and self.price):
            return ""
        dollars = estimate / 3600 * self.price
        text = f"expected: about {spoken(estimate)}, ${dollars:.2f} of the budget of ${self.budget:g}"
        if dollars <= self.budget:
            return text
        return f"{text}: after {spoken(self.budget / self.price * 3600)} it is checkpointed and ended"


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def spoken(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class Estimates:
    """The trainer's `estimate` lines in metrics.jsonl, read as they are written."""

    def __init__(self, run: Path) -> None:
        self._file = run / run_folder.METRICS
        self._position = 0

    def new(self) -> float | None:
        """Seconds that the whole run takes, by the newest line since the last call; None without one."""
        try:
            with self._file.open("rb") as stream:
                if stream.seek(0, 2) < self._position:
                    self._position = 0
                stream.seek(self._position)
                written = stream.read(1 << 20)
        except OSError:
            return None
        whole = written[: written.rfind(b"\n") + 1]
        self._position += len(whole)
        found = [seconds for line in whole.splitlines() if (seconds := _estimate(line)) is not None]
        return found[-1] if found else None


def _estimate(line: bytes) -> float | None:
    try:
        event = json.loads(line)
        return _positive(event["seconds"]) if event["event"] == "estimate" else None
    except (ValueError, KeyError, TypeError):
        return None
