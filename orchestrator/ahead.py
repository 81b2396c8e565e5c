"""A question that is asked while something else is done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def ahead(question: Callable[[], T]) -> Future[T]:
    """Its answer, or what it raises, is the future's. One that is never answered does not keep the process alive."""
    asked: Future[T] = Future()

    def ask() -> None:
        try:
            asked.set_result(question())
        except BaseException as error:
            # Raised again, in the thread that wants the answer.
            asked.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return asked
