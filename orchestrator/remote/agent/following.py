"""A run's log as bytes on stdout, from wherever the listener has come to."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

from trainer import run_folder

from .phases import LIVE, phase_of

POLL_SECONDS = 0.2


def follow(run: Path, offset: int) -> None:
    """The log's bytes from `offset` on, until the run has ended and the log is drained, or nobody listens."""
    listener = select.poll()
    listener.register(1, 0)
    while True:
        ended = phase_of(run)[0] not in LIVE
        offset += _send(run, offset)
        if ended or listener.poll(POLL_SECONDS * 1000):
            return


def _send(run: Path, offset: int) -> int:
    sent = 0
    try:
        log = os.open(str(run / run_folder.LOG), os.O_RDONLY)
    except FileNotFoundError:
        return 0
    while True:
        piece = os.pread(log, 1 << 16, offset + sent)
        if not piece:
            os.close(log)
            return sent
        sent += len(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(1, view) :]


def tail(run: Path, lines: int) -> dict[str, Any]:
    log = run / run_folder.LOG
    words = log.read_bytes().decode(errors="replace").splitlines() if log.exists() else []
    return {"lines": words[-lines:]}
