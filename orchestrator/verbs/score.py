"""`gpu score`: what a run is worth on images whose classes it was never told."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trainer import run_folder

from ..data import holdout, scoring, staging
from ..data.layout import checked_name
from ..data.scoring import Figure, Score
from ..errors import GpuError
from ..remote import sums
from . import predict
from .desk import Desk

READ = (run_folder.SUBMISSION, run_folder.MODEL, run_folder.RESULT, run_folder.MANIFEST)
WORN = 10
"""Looks after which a test has become what one chooses by."""


@dataclass(frozen=True)
class Scored:
    """`promised`: what the run expected, by its validation images. `looks`: all so far at this test, this one too."""

    run: str
    score: Score
    promised: Mapping[str, Figure]
    looks: Sequence[Mapping[str, Any]]

    @property
    def verdict(self) -> str:
        """Against what was promised: `kept`, `better` or `worse`; `unknown` without a promise."""
        measured = {"accuracy": self.score.accuracy, "log_loss": self.score.log_loss}
        words = set()
        for name, promise in self.promised.items():
            if (figure := measured[name]) is not None and not figure.agrees(promise):
                words.add("better" if (figure.value > promise.value) == (name == "accuracy") else "worse")
        return "worse" if "worse" in words else "better" if words else "kept" if self.promised else "unknown"


def score(desk: Desk, name: str) -> Scored:
    """Open the seal of the data set that the run answered, and write down that it was looked at."""
    run = predict.choose(desk.runs, name)
    seal = _seal(desk, run)
    if changed := [file for file in sums.verify(run) if file in READ]:
        what = f"{changed[0]} of {run.name} is not what the machine made"
        raise GpuError(what, f"Move {run} away and bring it home again: gpu pull {run.name}")
    model, result = _document(run / run_folder.MODEL), _document(run / run_folder.RESULT)
    found = scoring.score(
        run / run_folder.SUBMISSION, seal.labels, _classes(run, model), str(result.get("metric", "log_loss"))
    )
    look = {"time": datetime.now(timezone.utc).isoformat(timespec="seconds"), "run": run.name}
    losses = {} if found.log_loss is None else {"log_loss": found.log_loss.value}
    with staging.disk_errors(seal.file.parent):
        seal.remember({**look, "accuracy": found.accuracy.value, **losses})
        looks = seal.looks()
    return Scored(run.name, found, _promised(result), looks)


def _seal(desk: Desk, run: Path) -> holdout.Seal:
    """By what was in `test/` when the run began, as its manifest has it: other images are another test."""
    if not (run / run_folder.SUBMISSION).is_file():
        raise GpuError(f"{run.name} has answered nothing: its data set has no test/", "Prepare one with --holdout")
    data = _document(run / run_folder.MANIFEST).get("data")
    data = data if isinstance(data, dict) else {}
    test, name = data.get(run_folder.TEST), checked_name(str(_document(run / run_folder.JOB).get("data", "")))
    images = str(test.get("sha256", "")) if isinstance(test, dict) else ""
    with staging.disk_errors(desk.data):
        found = holdout.find(desk.data, name, images)
        if found is None:
            raise _unsealed(desk, run.name, name)
    return found


def _unsealed(desk: Desk, run: str, name: str) -> GpuError:
    if holdout.has_any(desk.data, name):
        what = f"what {run} answered is not what is sealed of {name} now"
        return GpuError(what, f"Train again: gpu train --data {name}")
    return GpuError(
        f"nothing is sealed of the data set {name}",
        "Seal some of its images away: gpu data prepare NAME SOURCE... --holdout 10% (Kaggle's own, Kaggle scores)",
    )


def _classes(run: Path, model: Mapping[str, Any]) -> list[str]:
    classes = model.get("classes")
    if not isinstance(classes, list) or len(classes) < 2:
        raise GpuError(f"{run / run_folder.MODEL} does not name the classes", "Bring the run home again: gpu pull")
    return [str(name) for name in classes]


def _promised(result: Mapping[str, Any]) -> dict[str, Figure]:
    """It came from another machine: what is no figure is no promise."""
    expected = result.get("expected")
    if not isinstance(expected, dict):
        return {}
    losses = expected.get("log_loss")
    found = {
        "accuracy": expected.get("accuracy"),
        "log_loss": losses.get("clipped") if isinstance(losses, dict) else None,
    }
    return {name: figure for name, one in found.items() if (figure := _figure(one)) is not None}


def _figure(one: Any) -> Figure | None:
    if not isinstance(one, dict):
        return None
    values = [one.get(name) for name in asdict(Figure(0, 0, 0))]
    good = all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    return Figure(*map(float, values)) if good else None  # type: ignore[arg-type]


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
