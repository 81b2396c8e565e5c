"""The faults that the region has at the moment: set, narrowed, counted, cleared while it runs."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .rehearsals import REHEARSALS
from .wsgi import Call

Place = tuple[str, str]
"""(availability zone, instance type) of a machine that a call is about; an empty zone: any that has room."""

WANT_CHANGES = frozenset({"reply-lost", "hold"})
"""Those that without an action strike only at calls that change something."""
TEXTS = ("action", "zone", "type", "when")


@dataclass
class Fault:
    id: int
    name: str
    action: str | None = None
    zone: str | None = None
    type: str | None = None
    seconds: float | None = None
    when: str = "after"
    times: int | None = None
    """How often it still strikes; None: until it is cleared."""
    skip: int = 0
    """How many matching calls still pass unharmed before."""
    struck: int = 0
    begun: float = field(default_factory=time.monotonic)
    stuck: set[str] = field(default_factory=set)
    """Instances that it has struck and that it goes on holding."""

    @property
    def duration(self) -> float:
        return REHEARSALS[self.name].seconds if self.seconds is None else self.seconds

    def document(self) -> dict[str, Any]:
        about = {key: value for key, value in dataclasses.asdict(self).items() if key not in ("begun", "stuck")}
        return about if "when" in REHEARSALS[self.name].options else {**about, "when": None}

    def is_at(self, places: Sequence[Place]) -> bool:
        if self.zone is None and self.type is None:
            return True
        return any((self.zone or zone) == zone and fnmatch.fnmatchcase(kind, self.type or "*") for zone, kind in places)

    def wants(self, call: Call) -> bool:
        if self.action is not None:
            return fnmatch.fnmatchcase(call.action, self.action)
        return call.changes or self.name not in WANT_CHANGES


class Faults:
    """Any thread may ask; a fault whose times are used up is no longer there."""

    def __init__(self) -> None:
        self._active: list[Fault] = []
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self.round = 0
        """Grows when held calls shall go on."""

    def new(self, document: Any) -> Fault:
        """A fault that is not active yet; ValueError, in words, for one that cannot be."""
        if not isinstance(document, dict) or document.get("name") not in REHEARSALS:
            name = document.get("name") if isinstance(document, dict) else document
            raise ValueError(f"there is no fault {name!r}; there are {', '.join(REHEARSALS)}")
        options = {key: value for key, value in document.items() if key != "name"}
        known = (*REHEARSALS[document["name"]].options, "times", "skip")
        if unknown := [key for key in options if key not in known]:
            raise ValueError(f"the fault {document['name']} takes no {unknown[0]}; it takes {', '.join(known)}")
        for key, value in options.items():
            _check(key, value)
        return Fault(next(self._ids), document["name"], **options)

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._active.append(fault)

    def clear(self, name: str | None = None) -> int:
        with self._lock:
            kept = [fault for fault in self._active if name not in (None, fault.name)]
            ended, self._active = len(self._active) - len(kept), kept
        if name in (None, "hold"):
            self.round += 1
        return ended

    def active(self) -> list[dict[str, Any]]:
        with self._lock:
            return [fault.document() for fault in self._active]

    def strike(
        self, name: str, call: Call, places: Sequence[Place] | None = None, when: str | None = None
    ) -> Fault | None:
        """The fault of that name that strikes this call, made for these places where they matter; it is counted."""
        with self._lock:
            for fault in self._active:
                if fault.name != name or not fault.wants(call) or (places is not None and not fault.is_at(places)):
                    continue
                if (when is None or fault.when == when) and self._count(fault):
                    return fault
        return None

    def has_room(self, place: Place) -> bool:
        """Whether EC2 itself would find capacity there; nothing is counted."""
        with self._lock:
            return not any(fault.name == "no-capacity" and fault.is_at([place]) for fault in self._active)

    def sticks(self, instance_id: str, place: Place) -> bool:
        """Whether an instance is kept pending."""
        with self._lock:
            for fault in [one for one in self._active if one.name == "stuck-pending"]:
                if fault.seconds is not None and time.monotonic() > fault.begun + fault.seconds:
                    self._active.remove(fault)
                elif instance_id in fault.stuck:
                    return True
                elif fault.times != 0 and fault.is_at([place]) and self._count(fault, keep=True):
                    fault.stuck.add(instance_id)
                    return True
        return False

    def _count(self, fault: Fault, *, keep: bool = False) -> bool:
        if fault.skip:
            fault.skip -= 1
            return False
        fault.struck += 1
        if fault.times is not None:
            fault.times -= 1
            if fault.times == 0 and not keep:
                self._active.remove(fault)
        return True


def _check(key: str, value: Any) -> None:
    if key in TEXTS:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{key} is a word, not {value!r}")
        if key == "when" and value not in ("before", "after"):
            raise ValueError(f"when is before or after, not {value!r}")
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{key} is a number, not {value!r}")
    elif key != "seconds" and (not isinstance(value, int) or value < (key == "times")):
        raise ValueError(f"{key} is a count, not {value!r}")
