"""`gpu runs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..verbs import journal
from .options import Given, Group, command
from .terminal import print_json

SHOWN_UNSCORED = ("run", "state", "model", "options", "accuracy", "log_loss", "minutes", "dollars", "note")
SHOWN = (*SHOWN_UNSCORED[:6], "public_score", *SHOWN_UNSCORED[6:])


def register(gpu: Group) -> None:
    @command(gpu, "runs")
    @click.option("--sort", default="run", show_default=True, metavar="KEY", help="By a column; -KEY: largest first.")
    @click.option("--filter", "contains", default="", metavar="TEXT", help="Only runs with this in a column.")
    @click.argument("names", nargs=-1, metavar="[RUN RUN...]")
    def runs(given: Given, sort: str, contains: str, names: tuple[str, ...]) -> None:
        """The lab journal of ./runs; with two runs or more, what differs."""
        folder = Path.cwd() / "runs"
        if len(names) == 1:
            raise click.UsageError("One run cannot be compared: name two or more.")
        expected = journal.awaited(given.home)
        if names:
            _print_difference(given, names, journal.compare(folder, names, expected=expected))
            return
        found = journal.entries(folder, sort=sort, contains=contains, expected=expected)
        if given.json:
            print_json([asdict(entry) for entry in found])
        elif not found:
            click.echo("no run here matches" if contains else "there is no run in ./runs yet")
        else:
            columns = SHOWN if any(entry.public_score is not None for entry in found) else SHOWN_UNSCORED
            rows = [[shown(name, getattr(entry, name)) for name in columns] for entry in found]
            click.echo(table([[name.replace("_", " ") for name in columns], *rows]))


def _print_difference(given: Given, names: Sequence[str], found: dict[str, list[Any]]) -> None:
    if given.json:
        print_json({column: dict(zip(names, values, strict=True)) for column, values in found.items()})
        return
    rows = [[column.replace("_", " "), *(shown(column, value) for value in found[column])] for column in found]
    click.echo(table(rows))


def shown(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column == "accuracy":
        return f"{value:.2%}"
    if column in ("log_loss", "minutes"):
        return f"{value:.4f}" if column == "log_loss" else f"{value:.1f}"
    return f"${value:.2f}" if column == "dollars" else str(value)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns under one another, two spaces between them."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
