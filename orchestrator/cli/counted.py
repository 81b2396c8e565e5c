"""How many images a data set has, for people and for programs."""

from __future__ import annotations

from typing import Any

import click

from ..data.layout import Counts
from . import table
from .options import Given
from .terminal import print_json


def print_counts(given: Given, name: str, counts: Counts) -> None:
    if given.json:
        print_json({"name": name, **counts_document(counts)})
        return
    click.echo(f"data/{name}")
    labels = sorted({*counts.train, *counts.valid})
    rows = [(label, counts.train.get(label, 0), counts.valid.get(label, 0)) for label in labels]
    together = ("together", sum(counts.train.values()), sum(counts.valid.values()))
    shown = [(label, str(train), str(valid), str(train + valid)) for label, train, valid in [*rows, together]]
    table.show(("class", " train", " valid", " both"), shown, elastic="class")
    click.echo(f"test: {counts.test}" if counts.test else "test: none, so a run makes no submission")
    if counts.quarantined:
        click.echo(f"set aside in data/{name}/.quarantine: {counts.quarantined}")


def counts_document(counts: Counts) -> dict[str, Any]:
    return {"train": counts.train, "valid": counts.valid, "test": counts.test, "quarantined": counts.quarantined}


def describe(counts: Counts) -> str:
    classes = ", ".join(f"{name} {counts.train[name]} + {counts.valid.get(name, 0)}" for name in sorted(counts.train))
    aside = f"; {counts.quarantined} set aside in .quarantine" if counts.quarantined else ""
    return f"train + valid: {classes}; test {counts.test}{aside}"
