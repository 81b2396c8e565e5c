"""`gpu data prepare`."""

from __future__ import annotations

from pathlib import Path

import click

from ..data.layout import Counts
from ..verbs import data as verbs
from . import holdings
from .holdings import counts_document, describe
from .options import Given, Group, command
from .terminal import print_json


def register(gpu: Group) -> None:
    @gpu.group("data", cls=Group)
    def data() -> None:
        """Data sets: made from archives, fetched, listed."""

    @command(data, "prepare")
    @click.argument("name", metavar="NAME")
    @click.argument("archives", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="ARCHIVE...")
    @click.option("--seed", default=0, show_default=True, help="Another seed makes another validation split.")
    def prepare(given: Given, name: str, archives: tuple[Path, ...], seed: int) -> None:
        """Make data/NAME from Kaggle's archives, or from class folders."""
        desk = given.desk()
        print_counts(given, name, verbs.prepare(desk, name, archives, seed=seed))

    holdings.register(data)


def print_counts(given: Given, name: str, counts: Counts) -> None:
    if given.json:
        print_json({"name": name, **counts_document(counts)})
    else:
        click.echo(f"data/{name}: {describe(counts)}")
