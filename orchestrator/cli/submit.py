"""`gpu submit`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ..verbs import predict as runs
from ..verbs import submit as verbs
from .options import Given, Group, command


def register(gpu: Group) -> None:
    @command(gpu, "submit")
    @click.option("--competition", metavar="C", help="On Kaggle; without it, the one that the data set is from.")
    @click.option("-m", "--message", default="", help="Beside the run's id, for the list of your submissions.")
    @click.option("--wait/--no-wait", default=True, help="Until it is scored (as is usual), or come back later.")
    @click.argument("run", metavar="RUN")
    def submit(given: Given, run: str, competition: str | None, message: str, wait: bool) -> None:
        """Hand a run's submission to Kaggle; RUN may be `last`."""
        desk = given.desk()
        handed = verbs.submit(desk, runs.choose(desk.runs, run), verbs.Wish(competition, message, wait))
        given.show(_document(handed), _text(handed))


def _document(handed: verbs.Handed) -> dict[str, Any]:
    stands = handed.standing
    expected = asdict(handed.expected) if handed.expected else None
    reading = stands.reading if stands else None
    return {"run": handed.run_id, **asdict(handed.handin), "reading": reading, "expected": expected}


def _text(handed: verbs.Handed) -> str:
    handin, stands = handed.handin, handed.standing
    if handin.score is None:
        later = f"; see its score later with: gpu submit {handed.run_id}"
        return f"{handed.run_id} is handed in to {handin.competition}; it is {handin.status}{later}"
    expected = f" (expected {handed.expected.value:.5f})" if handed.expected else ""
    lines = [f"public score  {handin.score:g}{expected}"]
    if stands is not None:
        lines.append(f"place         {stands.place:,} of {stands.teams:,} teams, {stands.reading}")
    return "\n".join(lines)
