"""`gpu data`: its commands, and of them `fetch ls`."""

from __future__ import annotations

import click

from ..verbs import data as verbs
from . import inspection, preparation
from .counted import counts_document, describe, print_counts
from .options import Given, Group, command
from .terminal import print_json


def register(gpu: Group) -> None:
    @gpu.group("data", cls=Group)
    def data() -> None:
        """Data sets: made from archives, checked, shown, fetched, listed."""

    preparation.register(data)
    inspection.register(data)

    @command(data, "fetch")
    @click.argument("name", metavar="NAME")
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
