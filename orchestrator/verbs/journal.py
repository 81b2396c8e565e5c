"""The lab journal: every run in ./runs with what was asked, what came of it, and what it cost."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from trainer import run_folder

from .. import handins
from ..errors import GpuError, UsageError, nearest
from ..ledger import Ledger
from ..remote.job import CANCELLED
from ..settings import Home

OWN_OPTIONS = ("--data", "--out", "--cache", "--model", "--price-per-hour")
"""Of the trainer's command: these are the run's own, or have a column."""


@dataclass(frozen=True)
class Entry:
    """One run. None: not known. `dollars`: at the price that the machine had when the run began."""

    run: str
    state: str
    """finished, failed, cancelled, interrupted, lost, `not home`, or `gone`: neither here nor on a machine of ours."""
    started: str
    data: str
    model: str
    options: str
    note: str
    accuracy: float | None
    log_loss: float | None
    minutes: float | None
    dollars: float | None
    public_score: float | None
    """Of the newest submission that Kaggle has scored."""


COLUMNS = tuple(Entry.__dataclass_fields__)


def awaited(home: Home) -> set[str]:
    """The runs that any profile's ledger still waits for."""
    ledgers = (home.state / "unfetched").glob("*")
    return {entry.run_id for ledger in ledgers for entry in Ledger(ledger).unfetched()}


def entries(
    folder: Path, *, sort: str = "run", contains: str = "", expected: Collection[str] = frozenset()
) -> list[Entry]:
    """The runs in a `runs` folder. `contains`: only those with this in one of their columns; `-KEY` sorts downwards.
    `expected`: those that are still to come home.

    What is not known is sorted last.
    """
    key = sort.removeprefix("-")
    if key not in COLUMNS:
        raise UsageError(f"there is no column {key}", nearest(key, COLUMNS) or f"There are: {', '.join(COLUMNS)}")
    found = [_read(run, expected) for run in _runs(folder)]
    if contains:
        found = [entry for entry in found if any(contains.lower() in str(value).lower() for value in _values(entry))]
    known = [entry for entry in found if getattr(entry, key) is not None]
    known.sort(key=lambda entry: getattr(entry, key), reverse=sort.startswith("-"))
    return known + [entry for entry in found if getattr(entry, key) is None]


def compare(folder: Path, names: Sequence[str], *, expected: Collection[str] = frozenset()) -> dict[str, list[Any]]:
    """The columns in which the named runs differ, with their values in the order of the names."""
    known = [run.name for run in _runs(folder)]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no run {name} in {folder}", nearest(name, known) or "See: gpu runs")
    found = [asdict(_read(folder / name, expected)) for name in names]
    return {column: values for column in COLUMNS if len(set(map(str, values := [one[column] for one in found]))) > 1}


def _values(entry: Entry) -> list[Any]:
    return [value for value in asdict(entry).values() if value is not None]


def _runs(folder: Path) -> list[Path]:
    try:
        return sorted(run for run in folder.iterdir() if run_folder.is_run(run)) if folder.is_dir() else []
    except OSError as error:
        raise GpuError(f"{folder} cannot be read: {error.strerror}", "Check its mode and owner") from error


def _read(run: Path, expected: Collection[str]) -> Entry:
    job, result = _document(run / run_folder.JOB), _document(run / run_folder.RESULT)
    state = _state(run, expected)
    done = result if state == "finished" else {}
    seconds = _number(done.get("seconds")) or _wall_clock(run, job)
    price = _number(job.get("price_per_hour"))
    return Entry(
        run=run.name,
        state=state,
        started=_text(job.get("started")),
        data=_text(job.get("data")),
        model=_text(job.get("model")),
        options=_options(job.get("command")),
        note=_text(job.get("note")),
        accuracy=_number(done.get("accuracy")),
        log_loss=_number(done.get("log_loss")),
        minutes=None if seconds is None else round(seconds / 60, 2),
        dollars=None if seconds is None or price is None else round(seconds / 3600 * price, 6),
        public_score=next((each.score for each in reversed(handins.read(run)) if each.score is not None), None),
    )


def _state(run: Path, expected: Collection[str]) -> str:
    if not (run / run_folder.VERIFIED).exists():
        # Of one that another computer began nothing but the log is here, and no ledger of ours knows it.
        ours = (run / run_folder.JOB).exists()
        return "gone" if ours and run.name not in expected else "not home"
    try:
        code = int((run / run_folder.EXIT_CODE).read_bytes())
    except (OSError, ValueError):
        code = -1
    if code == 0:
        return "finished"
    if (run / run_folder.INTERRUPTED).exists():
        return "interrupted"
    return "cancelled" if code == CANCELLED else "failed" if code > 0 else "lost"


def _wall_clock(run: Path, job: Mapping[str, Any]) -> float | None:
    """From the wish to the exit code: all that is known of a run without a result."""
    try:
        began = datetime.fromisoformat(str(job["started"])).timestamp()
        return max(0.0, (run / run_folder.EXIT_CODE).stat().st_mtime - began)
    except (OSError, KeyError, ValueError):
        return None


def _options(command: Any) -> str:
    """What was asked beside data and model: «--epochs 3 --sample»."""
    words = [_text(word) for word in command] if isinstance(command, list) else []
    words = words[words.index("trainer") + 1 :] if "trainer" in words else words
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word not in (*OWN_OPTIONS, "--resume"):
            kept.append(word)
        skip = not skip and word in OWN_OPTIONS
    return " ".join(kept)


def _document(file: Path) -> dict[str, Any]:
    """What came from a machine may be anything: garbage is an empty page of the journal."""
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _text(value: Any) -> str:
    return "" if value is None else "".join(letter for letter in str(value) if letter.isprintable())
