"""A look at something that may never answer: by the clock it is over, whatever became of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from .errors import GpuError

T = TypeVar("T")


class TooLong(GpuError):
    """The time was over; what was asked may still be waiting for its answer."""


def within(seconds: float, look: Callable[[], T]) -> T:
    """What `look` returns or raises; TooLong after `seconds`. A look that hangs does not keep the process alive."""
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put((look(), None))
        except BaseException as error:
            # Raised again, in the thread that asked.
            answers.put((None, error))

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TooLong(f"no answer within {seconds:.0f} seconds", "Check the network, then look again") from None
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]
