"""`gpu score`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from ..data.scoring import Figure
from ..verbs import score as verbs
from . import table
from .options import Given, Group, command
from .terminal import print_json

VERDICTS = {
    "kept": "as the run promised",
    "better": "better than the run promised",
    "worse": "worse than the run promised: do its validation images leak, or differ from these? See: gpu data check",
    "unknown": "the run promised nothing",
}


def register(gpu: Group) -> None:
    @command(gpu, "score")
    @click.argument("run", metavar="RUN")
    def score(given: Given, run: str) -> None:
        """What a run is worth on the images that --holdout sealed away; RUN may be `last`.

        Opens the labels that `gpu data prepare --holdout` kept aside, compares them with the run's submission.csv, and
        shows accuracy and log loss with 95 % intervals beside what the run expected. Every look is written down and
        counted: a test that one has looked at often is one that one has chosen by.
        """
        found = verbs.score(given.desk(), run)
        if given.json:
            print_json(document(found))
            return
        table.show(("", " measured", "95 % interval", " promised", "95 % interval"), _rows(found))
        click.echo(f"{found.score.images} sealed images; {VERDICTS[found.verdict]}")
        for line in _looks(found):
            click.echo(line)


def document(found: verbs.Scored) -> dict[str, Any]:
    return {
        "run": found.run,
        **asdict(found.score),
        "promised": {name: asdict(figure) for name, figure in found.promised.items()},
        "verdict": found.verdict,
        "looks": list(found.looks),
    }


def _rows(found: verbs.Scored) -> Iterator[list[str]]:
    yield ["accuracy", *_cells(found.score.accuracy, "{:.2%}"), *_cells(found.promised.get("accuracy"), "{:.2%}")]
    yield ["log loss", *_cells(found.score.log_loss, "{:.4f}"), *_cells(found.promised.get("log_loss"), "{:.4f}")]


def _cells(figure: Figure | None, form: str) -> list[str]:
    if figure is None:
        return ["-", "-"]
    return [form.format(figure.value), f"{form.format(figure.low)} to {form.format(figure.high)}"]


def _looks(found: verbs.Scored) -> Iterator[str]:
    times, runs = len(found.looks), len({look.get("run") for look in found.looks})
    if times == 1:
        yield "this was the first look at them"
        return
    yield f"looked at {times} times, for {runs} run{'s' * (runs != 1)}"
    if times >= verbs.WORN:
        yield "so often looked at, it is a validation set: seal others away, with --holdout and another --seed"
