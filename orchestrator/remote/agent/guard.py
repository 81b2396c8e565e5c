"""Watches over a running trainer: ends it, checkpoint first, when EC2 takes the machine back or the budget is spent."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trainer import run_folder

from . import notice
from .allowance import Allowance, Estimates
from .processes import signal_group
from .records import write_facts

LOOK_SECONDS = 0.5
CHECKPOINT_SECONDS = 90.0
"""How long a trainer may take for its checkpoint; of a spot notice's two minutes, half a minute is left."""


class Guard:
    def __init__(self, run: Path, job: dict[str, Any], trainer: int, say: Callable[[str], None]) -> None:
        self._run, self._trainer, self._say = run, trainer, say
        # Who is no spot machine is never told, and may not have such a service at all.
        self._notices = notice.Notices(notice.service()) if job.get("spot") is True else None
        self._allowance = Allowance(job)
        self._estimates = Estimates(run)
        self._told: set[str] = set()
        self._began = 0.0

    def watch(self) -> None:
        """Until something ends the run, which ends the process that this is a thread of."""
        self._began = next_look = time.monotonic()
        while True:
            now = time.monotonic()
            if self._notices and now >= next_look:
                next_look = now + notice.EVERY_SECONDS
                if found := self._notices.look():
                    return self._end("spot notice", f"EC2 takes this spot machine back at {found.get('time')}", found)
            limit = self._allowance.seconds
            if limit is not None and now - self._began >= limit:
                return self._end("budget", f"the budget of ${self._allowance.budget:g} is spent", {})
            self._estimate()
            time.sleep(LOOK_SECONDS)

    def _estimate(self) -> None:
        """Told once for each thing that it goes by."""
        if self._allowance.seconds is None:
            return
        estimate = self._estimates.new(time.monotonic() - self._began)
        if estimate and estimate.basis not in self._told:
            self._told.add(estimate.basis)
            self._say(self._allowance.sentence(estimate))

    def _end(self, why: str, words: str, found: dict[str, Any]) -> None:
        """Noted before the trainer hears of it: whatever ends first, the run is known to have been interrupted."""
        seconds = round(time.monotonic() - self._began, 1)
        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write_facts(self._run / run_folder.INTERRUPTED, {"why": why, "at": at, "seconds": seconds, "notice": found})
        self._say(f"{words}: writing a checkpoint; go on later with: gpu train --resume {self._run.name}")
        signal_group(self._trainer, signal.SIGTERM)
        time.sleep(CHECKPOINT_SECONDS)
        signal_group(self._trainer, signal.SIGKILL)
