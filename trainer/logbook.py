"""What a run tells while it goes: lines for a person, events in metrics.jsonl, and what its report has to remember."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import IO, Any

from . import fit
from .checkpoint import Progress

Say = Callable[[str], None]


class Logbook:
    """`history` has an entry for each step of the head's fit, `tuning` one for each epoch through the network."""

    def __init__(self, events: IO[str], say: Say, began: float) -> None:
        """`began`: the reading of `time.monotonic()` from which on seconds count."""
        self.say = say
        self.history: list[dict[str, Any]] = []
        self.tuning: list[dict[str, Any]] = []
        self.quarantined: list[dict[str, str]] = []
        self._events, self._began = events, began
        self._earlier = 0.0
        self._kept: Progress | None = None
        self._tuning_began = 0.0

    def event(self, event: str, **facts: Any) -> None:
        self._events.write(json.dumps({"event": event, **facts}) + "\n")
        self._events.flush()

    def seconds(self) -> float:
        """Of this run, those of interrupted attempts with them."""
        return round(self._earlier + time.monotonic() - self._began, 2)

    def estimate(self, left: float) -> None:
        """Of the whole run, `left` seconds being what the features still take; the fit is counted as one in ten."""
        self.event("estimate", seconds=round(self.seconds() + left * 1.1, 1))

    def set_aside(self, name: str, why: str, *, predicted: bool) -> None:
        """A photograph that cannot be read."""
        done = "it is predicted as the share of each class" if predicted else "it is left out"
        self.say(f"warning: {name} cannot be used ({why}): {done}")
        self.quarantined.append({"file": name, "why": why})
        self.event("quarantined", file=name, why=why)

    def keep_in(self, kept: Progress) -> None:
        """The checkpoint of the fit; what an earlier attempt has told is told again, for the report."""
        if kept.tensors:
            self.say(f"going on from the checkpoint, after {len(kept.facts['history'])} steps of the fit")
            self.history = kept.facts["history"]
            self._earlier = kept.facts["seconds"]
            for entry in self.history:
                self.event("epoch", **entry)
        kept.facts["history"] = self.history
        self._kept = kept

    def fitted(self, entry: dict[str, Any]) -> None:
        """A step of the head's fit."""
        self.history.append(entry)
        if self._kept is not None:
            self._kept.facts["seconds"] = self.seconds()
        self.event("epoch", **entry)
        self.say(fit.line(entry))

    def tuned(self, entry: dict[str, Any]) -> None:
        """An epoch through the network; 0 is the network before."""
        self.tuning.append(entry)
        self.event("tuned", **entry)
        done, whole = entry["epoch"], entry["epochs"]
        if not done:
            self._tuning_began = time.monotonic()
            self.say(f"before  val_loss: {entry['val_loss']:.4f} - val_acc: {entry['val_acc']:.4f}")
            return
        self.say(fit.line(entry))
        spent = time.monotonic() - self._tuning_began
        self.event("estimate", seconds=round(self.seconds() + spent / done * (whole - done), 1))
