"""`gpu submit`: a run's submission is checked, handed to Kaggle, and what came of it is noted."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trainer import run_folder

from .. import handins
from ..data import catalog
from ..data.fetch import competition_of
from ..errors import Declined, GpuError, UsageError
from ..handins import Handin
from ..kaggle import Client, Submission
from ..remote import sums
from ..reporter import Reporter
from ..standing import Standing, standing
from .desk import Desk

WAIT_SECONDS = 900.0
LOOK_SECONDS = 4.0
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
class Wish:
    """`competition`: None: the one that the data set is from. `wait`: until Kaggle has scored it."""

    competition: str | None = None
    message: str = ""
    wait: bool = True


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
class Handed:
    """What came of it. `expected`: None where the run states nothing."""

    run_id: str
    handin: Handin
    expected: Expected | None

    @property
    def standing(self) -> Standing | None:
        place, teams = self.handin.place, self.handin.teams
        return None if place is None or teams is None else Standing(place, teams)


def submit(desk: Desk, run: Path, wish: Wish) -> Handed:
    """Check, ask, hand in, wait. `Declined` where it is not agreed to; nothing has been handed in then.

    What has been handed in and was not scored when last looked at is looked at, and not handed in once more.
    """
    job = _document(run / run_folder.JOB)
    file = _checked_run(run, job)
    name = competition(desk, str(job.get("data", "")), wish.competition)
    client = Client.found(name)
    _check_ids(desk, client, file, str(job.get("data", "")))
    expected = _expected(_document(run / run_folder.RESULT))
    if (earlier := _unsettled(client, run, file)) is not None:
        desk.reporter.line(f"it was handed in at {earlier.time}; this is what came of it")
        return Handed(run.name, _settled(desk, client, run, earlier) if wish.wait else earlier, expected)
    _say_before(desk, client, (run, file), expected)
    if not desk.reporter.confirm(f"Hand it in to {name}? It counts against the day's limit."):
        raise Declined("nothing was handed in", "Agree, or give -y")
    handin = _hand_in(client, run, file, wish.message)
    desk.reporter.line(f"handed in to {name}")
    return Handed(run.name, _settled(desk, client, run, handin) if wish.wait else handin, expected)


def _checked_run(run: Path, job: Mapping[str, Any]) -> Path:
    """The file of a run that is home as the machine had it."""
    file = run / run_folder.SUBMISSION
    if not (run / run_folder.VERIFIED).exists():
        raise GpuError(f"{run.name} is not verified: it has not come home whole", f"Bring it: gpu pull {run.name}")
    if job.get("sample") is not False or _document(run / run_folder.RESULT).get("sample") is not False:
        raise GpuError(f"{run.name} trained and predicted on the sample alone", "Train without --sample to hand in")
    if not file.is_file():
        raise GpuError(f"{run.name} has no {file.name}", "A data set without test/ leaves nothing to hand in")
    if wrong := sums.verify(run):
        remedy = "Hand it in by hand if you mean it, or bring the run home again"
        raise GpuError(f"{', '.join(wrong[:3])} of {run.name} is not what the machine made", remedy)
    return file


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


def _check_ids(desk: Desk, client: Client, file: Path, data: str) -> None:
    with tempfile.TemporaryDirectory(prefix="gpu-submit-") as folder:
        beside = (desk.data / data / name for name in _SAMPLES)
        sample = next((each for each in beside if data and each.is_file()), None) or client.sample(Path(folder))
        if sample is None:
            desk.reporter.line(f"{client.competition} offers no sample submission: the ids are not compared")
            return
        package = Path(run_folder.__file__).parents[1]
        argv = [sys.executable, "-c", _CHECK, *map(str, (package, file.absolute(), sample.absolute()))]
        # The client alone is to see the token.
        env = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_")}
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["the check itself failed"]
        raise GpuError(said[-1].rstrip("."), "Nothing was handed in")


def _unsettled(client: Client, run: Path, file: Path) -> Handin | None:
    """A submission of this file whose score is not known here, and that did arrive."""
    digest = _digest(file)
    for earlier in reversed(handins.read(run)):
        same = (earlier.sha256, earlier.competition) == (digest, client.competition)
        if same and earlier.status in ("begun", "pending"):
            return earlier if _find(client.submissions(), earlier) else None
    return None


def _say_before(desk: Desk, client: Client, what: tuple[Path, Path], expected: Expected | None) -> None:
    run, file = what
    if expected is not None:
        desk.reporter.line(f"expected {expected}")
    for other, before in handins.of_file(run.parent, _digest(file), client.competition):
        scored = f"scored {before.score:g}" if before.score is not None else f"is {before.status}"
        desk.reporter.line(f"this very file was handed in before: {before.time}, of {other.name}; it {scored}")


def _hand_in(client: Client, run: Path, file: Path, message: str) -> Handin:
    """Noted before it goes: whatever happens then, it is known that it may have arrived."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    words = f"{run.name}: {message}" if message else run.name
    handin = Handin(client.competition, now, _digest(file), words)
    handins.write(run, handin)
    client.submit(file, words)
    handin = replace(handin, status="pending")
    handins.write(run, handin)
    return handin


def _settled(desk: Desk, client: Client, run: Path, handin: Handin) -> Handin:
    """As soon as Kaggle has scored it; pending after a quarter of an hour."""
    began = time.monotonic()
    with desk.reporter.progress("waiting for the score", unit="s") as bar:
        while (found := _find(client.submissions(), handin)) is None or found.status == "pending":
            if time.monotonic() - began > WAIT_SECONDS:
                desk.reporter.line(f"Kaggle has not scored it yet; see later with: gpu submit {run.name}")
                return handin
            bar.update(time.monotonic() - began)
            time.sleep(LOOK_SECONDS)
    handin = replace(handin, status=found.status, ref=found.ref, score=found.score)
    handins.write(run, handin)
    if found.status == "error":
        raise GpuError(f"Kaggle could not score it ({client.competition}, {found.ref})", "See why on its page")
    return _placed(desk.reporter, client, run, handin)


def _find(submissions: list[Submission], handin: Handin) -> Submission | None:
    """The newest with the message that it was given, and not of an earlier time."""
    mine = [one for one in submissions if one.description == handin.message and one.date[:19] >= _before(handin.time)]
    return max(mine, key=lambda one: one.date, default=None)


def _before(moment: str) -> str:
    """Two minutes earlier, as Kaggle writes it: its clock is not ours."""
    seconds = datetime.fromisoformat(moment).timestamp() - 120
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def _placed(reporter: Reporter, client: Client, run: Path, handin: Handin) -> Handin:
    if handin.score is None:
        return handin
    try:
        found = standing(client.leaderboard(), handin.score)
    except GpuError as error:
        reporter.line(f"the leaderboard could not be had: {error}")
        return handin
    if found is not None:
        handin = replace(handin, place=found.place, teams=found.teams)
        handins.write(run, handin)
    return handin


def _expected(result: Mapping[str, Any]) -> Expected | None:
    metric = str(result.get("metric"))
    try:
        told = result["expected"]["accuracy"] if metric == "accuracy" else result["expected"]["log_loss"]["clipped"]
        found = Expected(metric, *(float(told[key]) for key in ("value", "low", "high")))
    except (KeyError, TypeError, ValueError):
        return None
    return found if all(map(math.isfinite, (found.value, found.low, found.high))) else None


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
