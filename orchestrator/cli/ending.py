"""The end of a command that must not leave anything behind, however it is asked to end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType


@contextlib.contextmanager
def ended_by_any_signal() -> Iterator[None]:
    """A closed terminal and a `kill` end it as Ctrl-C does, and leave nothing behind."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: FrameType | None) -> None:
    # The shell of a terminal that closes tells it once more: that must not break off the cleaning up.
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    if number == signal.SIGHUP:
        _let_go_of_the_terminal()
    raise KeyboardInterrupt


def _let_go_of_the_terminal() -> None:
    """Every word to one that is gone would be an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            if _is_terminal(stream.fileno()):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _is_terminal(descriptor: int) -> bool:
    """`isatty` denies it of one that is gone."""
    name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    return os.isatty(descriptor) or name.startswith(("/dev/pts/", "/dev/tty"))
