"""Ctrl-C is heard wherever it strikes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

AGAIN_SECONDS = 0.05


def heed_everywhere() -> None:
    """Python swallows an exception in a finalizer, a KeyboardInterrupt too: that one is then sent again.

    See https://docs.python.org/3/library/sys.html#sys.unraisablehook .
    """
    default = sys.unraisablehook

    def heed(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            default(unraisable)
            return
        # From another thread and a moment later, so that it does not strike inside this very hook.
        again = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()

    sys.unraisablehook = heed
