"""`gpu data prepare fetch ls`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..data.layout import Counts
from ..verbs import data as verbs
from .completion import Word, known_data_sets
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

    @command(data, "fetch")
    @click.argument("name", metavar="NAME", type=Word(known_data_sets))
    def fetch(given: Given, name: str) -> None:
        """Download a known data set and prepare it."""
        print_counts(given, name, verbs.fetch(given.desk(), name))

    @command(data, "ls")
    def ls(given: Given) -> None:
        """The data sets at home."""
        found = verbs.names(given.desk())
        if given.json:
            print_json({each.name: counts_document(each.counts()) for each in found})
        else:
            click.echo(
                "\n".join(f"{each.name}: {describe(each.counts())}" for each in found) or "no data set in ./data"
            )


def print_counts(given: Given, name: str, counts: Counts) -> None:
    if given.json:
        print_json({"name": name, **counts_document(counts)})
    else:
        click.echo(f"data/{name}: {describe(counts)}")


def counts_document(counts: Counts) -> dict[str, Any]:
    return {"train": counts.train, "valid": counts.valid, "test": counts.test, "quarantined": counts.quarantined}


def describe(counts: Counts) -> str:
    classes = ", ".join(f"{name} {counts.train[name]} + {counts.valid.get(name, 0)}" for name in sorted(counts.train))
    aside = f"; {counts.quarantined} set aside in .quarantine" if counts.quarantined else ""
    return f"train + valid: {classes}; test {counts.test}{aside}"
