"""The log of every AWS request that reached the region, in order: what a test strikes at, and a person reads."""

from __future__ import annotations

import datetime
import json
import threading
from pathlib import Path
from typing import Any

from .wsgi import Call

Entry = dict[str, Any]


class CallLog:
    """Kept in memory and, as each call is answered, as one line of `file`."""

    def __init__(self, file: Path) -> None:
        # Numbers begin anew with each region.
        file.unlink(missing_ok=True)
        self._file = file
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def arrived(self, call: Call) -> Entry:
        """The call's entry, numbered from 1; its outcome is None as long as it has not been answered."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        entry = {"service": call.service, "action": call.action, "changes": call.changes, "outcome": None}
        with self._lock:
            self._entries.append({"n": len(self._entries) + 1, **entry, "region": call.region, "at": now})
            return self._entries[-1]

    def answered(self, entry: Entry, outcome: str) -> None:
        """`ok`, EC2's word for the error, `lost` (carried out, the answer lost) or `gone` (the caller left before)."""
        with self._lock:
            entry["outcome"] = outcome
            with self._file.open("a") as file:
                file.write(json.dumps(entry) + "\n")

    def after(self, n: int) -> list[Entry]:
        with self._lock:
            return [dict(entry) for entry in self._entries[max(n, 0) :]]
