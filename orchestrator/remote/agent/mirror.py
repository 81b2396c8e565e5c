"""What a log gains, shown in the tmux window."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

POLL_SECONDS = 0.2


def show(log: Path) -> None:
    """From its beginning, in a thread, for as long as there is a window."""
    threading.Thread(target=_copy, args=(log,), daemon=True).start()


def _copy(log: Path) -> None:
    try:
        with log.open("rb") as file:
            while True:
                piece = file.read(1 << 16)
                if piece:
                    os.write(1, piece)
                else:
                    time.sleep(POLL_SECONDS)
    except OSError:
        return
