"""What Kaggle makes of a submission: its score, and the place that this has on the leaderboard."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from .. import handins
from ..errors import GpuError
from ..handins import Handin
from ..kaggle import Client, Submission
from ..reporter import Reporter
from ..standing import standing

WAIT_SECONDS = 900.0
LOOK_SECONDS = 4.0


def settled(reporter: Reporter, client: Client, run: Path, handin: Handin) -> Handin:
    """As soon as Kaggle has scored it; pending after a quarter of an hour."""
    began = time.monotonic()
    with reporter.progress("waiting for the score", unit="s") as bar:
        while (found := find(client.submissions(), handin)) is None or found.status == "pending":
            if time.monotonic() - began > WAIT_SECONDS:
                reporter.line(f"Kaggle has not scored it yet; see later with: gpu submit {run.name}")
                return handin
            bar.update(time.monotonic() - began)
            time.sleep(LOOK_SECONDS)
    handin = replace(handin, status=found.status, ref=found.ref, score=found.score)
    handins.write(run, handin)
    if found.status == "error":
        raise GpuError(f"Kaggle could not score it ({client.competition}, {found.ref})", "See why on its page")
    return _placed(reporter, client, run, handin)


def find(submissions: list[Submission], handin: Handin) -> Submission | None:
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
