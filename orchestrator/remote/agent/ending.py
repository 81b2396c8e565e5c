"""Ending a run: the trainer may write its checkpoint first."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from trainer import run_folder

from .phases import LIVE, has_signed, phase_of, state_of
from .processes import signal_group, signal_one
from .records import read_facts

GRACE_SECONDS = 20.0


def cancel(run: Path) -> dict[str, Any]:
    """SIGTERM to all that the trainer started, then, after a grace, SIGKILL; nothing where it is not running."""
    asked = 0.0
    began = time.monotonic()
    while phase_of(run)[0] in LIVE and time.monotonic() - began < 2 * GRACE_SECONDS:
        # Process ids of an earlier attempt, or of an earlier boot, are somebody else's by now.
        facts = read_facts(run / run_folder.LOCK) if has_signed(run) else {}
        group, wrapper = facts.get("trainer"), facts.get("wrapper")
        if isinstance(group, int) and group > 1:
            if not asked:
                asked = time.monotonic()
                signal_group(group, signal.SIGTERM)
            elif time.monotonic() - asked > GRACE_SECONDS:
                signal_group(group, signal.SIGKILL)
        elif isinstance(wrapper, int) and wrapper > 1 and facts.get("waiting"):
            signal_one(wrapper, signal.SIGTERM)
        time.sleep(0.05)
    return state_of(run)
