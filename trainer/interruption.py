"""Signals that wait: what is done between two of them is done whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_Struck = tuple[Callable[..., object], int, FrameType | None]


@contextmanager
def held() -> Iterator[None]:
    """SIGINT and SIGTERM that come within the block are heard at its end.

    Their handlers raise, between any two instructions of the main thread: half of an update would be done. Blocking
    the signals would not help, since the kernel then gives them to another thread, and Python handles them here.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    struck: list[_Struck] = []
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    try:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, _later(struck, handler))
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
    for handler, struck_by, frame in struck:
        handler(struck_by, frame)


def _later(struck: list[_Struck], handler: Callable[..., object]) -> Callable[[int, FrameType | None], None]:
    def note(number: int, frame: FrameType | None) -> None:
        struck.append((handler, number, frame))

    return note
