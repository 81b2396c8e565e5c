"""The GPU of a run that has waited: chosen when its turn comes, since others have come and gone meanwhile."""

from __future__ import annotations

import time
from typing import Any

from . import occupancy, vacancy

LOOK_SECONDS = 5.0


class Placement:
    """`environment` is the run's, with nothing but its GPU to be seen once one has been found."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._open = job.get("gpu_at_its_turn") is True
        self._wanted = job.get("gpu")
        self.environment: dict[str, str] = dict(job.get("environment") or {})
        self.words = ""
        """Where it runs, if that was chosen here."""
        self._why, self._next_look = "", 0.0

    def find(self) -> str:
        """Why there is no GPU for it at the moment; empty when it may begin. NoSuchGpu when there never will be."""
        if self._open and time.monotonic() >= self._next_look:
            self._look()
            self._next_look = time.monotonic() + LOOK_SECONDS
        return self._why

    def _look(self) -> None:
        try:
            chosen = vacancy.choose(vacancy.read(occupancy.facts()), "this machine", self._wanted)
        except vacancy.InUse as error:
            self._why = str(error.args[0])
            return
        self._why, self._open = "", False
        if chosen is not None:
            self.environment.update(vacancy.environment(chosen))
            self.words = f"on GPU {chosen.index}: {chosen.name}"
