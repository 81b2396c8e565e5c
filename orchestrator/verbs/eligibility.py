"""What may be handed in: a whole run's submission, with the ids that the competition asks for."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import run_folder

from ..data import catalog
from ..data.fetch import competition_of
from ..errors import GpuError, UsageError
from ..kaggle import Client
from ..remote import sums
from .desk import Desk

_SAMPLES = ("sample_submission.csv", "sampleSubmission.csv")
# Whatever lies in the current folder under the name of a module must not be imported in its place.
_CHECK = """
import sys
sys.path[0] = sys.argv[1]
from pathlib import Path
from trainer import submission
from trainer.errors import TrainerError
try:
    submission.check(Path(sys.argv[2]), Path(sys.argv[3]))
except TrainerError as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True)
class Expected:
    """What the run expects of its submission by the competition's metric, with the interval for 95 of 100 times."""

    metric: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.metric.replace('_', ' ')} {self.value:.5f}, between {self.low:.5f} and {self.high:.5f}"


@dataclass(frozen=True)
class Entry:
    """A run's submission. `data`: the name of the data set that it is of."""

    run: Path
    data: str
    expected: Expected | None

    @property
    def file(self) -> Path:
        return self.run / run_folder.SUBMISSION


def read(run: Path) -> Entry:
    """Of a run that is home as the machine had it; GpuError says why it is not to be handed in."""
    job, result = (_document(run / name) for name in (run_folder.JOB, run_folder.RESULT))
    entry = Entry(run, str(job.get("data") or ""), _expected(result))
    if not (run / run_folder.VERIFIED).exists():
        raise GpuError(f"{run.name} is not verified: it has not come home whole", f"Bring it: gpu pull {run.name}")
    if job.get("sample") is not False or result.get("sample") is not False:
        raise GpuError(f"{run.name} trained and predicted on the sample alone", "Train without --sample to hand in")
    if not entry.file.is_file():
        raise GpuError(f"{run.name} has no {entry.file.name}", "A data set without test/ leaves nothing to hand in")
    wrong = sums.verify(run)
    if not wrong and entry.file.name.encode() not in sums.read_sums(run / run_folder.SUMS):
        wrong = [entry.file.name]
    if wrong:
        remedy = "Hand it in by hand if you mean it, or bring the run home again"
        raise GpuError(f"{', '.join(wrong[:3])} of {run.name} is not what the machine made", remedy)
    return entry


def competition(desk: Desk, data: str, named: str | None) -> str:
    """The one that was named, or that the data set was fetched from, or that its name is known to be of."""
    if named is not None:
        return catalog.checked_competition(named.removeprefix(catalog.KAGGLE))
    known = catalog.load().get(data)
    found = competition_of(desk.data / data) if data else None
    if found is None and known is not None:
        found = known.competition
    if found is None:
        raise UsageError(
            f"to which competition the data set {data} belongs is not known",
            "Name it: --competition NAME, as in its address on kaggle.com/c/NAME",
        )
    return found


def check_ids(desk: Desk, client: Client, entry: Entry) -> None:
    """Against the sample submission beside the data set, otherwise the one that the competition offers."""
    with tempfile.TemporaryDirectory(prefix="gpu-submit-") as folder:
        beside = (desk.data / entry.data / name for name in _SAMPLES)
        sample = next((each for each in beside if entry.data and each.is_file()), None) or client.sample(Path(folder))
        if sample is None:
            desk.reporter.line(f"{client.competition} offers no sample submission: the ids are not compared")
            return
        package = Path(run_folder.__file__).parents[1]
        argv = [sys.executable, "-c", _CHECK, *map(str, (package, entry.file.absolute(), sample.absolute()))]
        # The client alone is to see the token.
        env = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["the check itself failed"]
        raise GpuError(said[-1].rstrip("."), "Nothing was handed in")


def _expected(result: Mapping[str, Any]) -> Expected | None:
    metric = str(result.get("metric"))
    try:
        told = result["expected"]["accuracy"] if metric == "accuracy" else result["expected"]["log_loss"]["clipped"]
        found = Expected(metric, *(float(told[key]) for key in ("value", "low", "high")))
    except (KeyError, TypeError, ValueError):
        return None
    return found if all(map(math.isfinite, (found.value, found.low, found.high))) else None


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
