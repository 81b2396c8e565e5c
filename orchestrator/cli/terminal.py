"""The person's end of a `Reporter`: bars on a terminal, plain lines everywhere else."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ..errors import Declined
from ..reporter import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_SECONDS = 5.0


class Terminal:
    """Everything on stderr; stdout is left for results."""

    def __init__(self, *, agree: bool = False) -> None:
        self._agree = agree

    def line(self, text: str) -> None:
        click.echo(printable(text), err=True)

    @contextmanager
    def progress(self, title: str, total: float | None = None, unit: str = "") -> Iterator[Progress]:
        if sys.stderr.isatty():
            with _bar(title, total, unit) as bar:
                yield bar
        else:
            yield PlainProgress(title, unit, total)

    def confirm(self, question: str) -> bool:
        if self._agree:
            return True
        if not sys.stdin.isatty():
            raise Declined("there is nobody to ask", "Give -y to agree without being asked")
        return click.confirm(question, default=False, err=True)


@contextmanager
def _bar(title: str, total: float | None, unit: str) -> Iterator[Progress]:
    # rich is loaded for long work alone: a command that prints one line need not wait for it.
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn() if unit == "B" else progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True, highlight=False)
    with progress.Progress(*columns, console=console, transient=False) as bar:
        yield _Bar(bar, bar.add_task(title, total=total, note=""))


class _Bar:
    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        self._bar.update(self._task, completed=done, total=total, note=note)


class PlainProgress:
    """A line now and then, for logs and pipes: never more than one in `PLAIN_SECONDS`, and one at the end."""

    def __init__(self, title: str, unit: str, total: float | None) -> None:
        self._title, self._unit, self._total = title, unit, total
        self._last = time.monotonic()
        self._finished = False

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        self._total = total if total is not None else self._total
        complete = self._total is not None and done >= self._total
        now = time.monotonic()
        if self._finished or (not complete and now - self._last < PLAIN_SECONDS):
            return
        self._last, self._finished = now, complete
        of = f" of {self._amount(self._total)}" if self._total is not None else ""
        # Of nothing at all the note says more.
        figures = "" if self._total == 0 and note else f"{self._amount(done)}{of} "
        click.echo(f"{self._title}: {figures}{note}".rstrip(), err=True)

    def _amount(self, value: float) -> str:
        return f"{value / 1e6:.1f} MB" if self._unit == "B" else f"{value:.0f} {self._unit}".rstrip()


def printable(text: str) -> str:
    """Names come from disks and machines: control characters in them must not drive the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show_log(data: bytes) -> None:
    """A run's own output, byte for byte except that escape sequences are taken out, on stderr."""
    sys.stderr.buffer.write(data.replace(b"\x1b", b"^["))
    sys.stderr.buffer.flush()


def print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=1, default=str))
