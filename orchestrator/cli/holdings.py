"""`gpu data fetch ls push`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ..data import catalog
from ..verbs import fetch as verbs
from ..verbs import holdings
from .completion import Word, known_data_sets
from .counted import counts_document, describe
from .options import Given, command
from .terminal import print_json


def register(data: click.Group) -> None:
    @command(data, "fetch")
    @click.option("--as", "call", metavar="NAME", help="Call it so, instead of by its own name.")
    @click.option("--seed", default=0, show_default=True, help="Another seed makes another validation split.")
    @click.option("--on-machine", is_flag=True, help="Download and prepare it there; nothing crosses your own line.")
    @click.argument("name", metavar="[NAME|kaggle:COMPETITION]", required=False, type=Word(known_data_sets))
    def fetch(given: Given, name: str | None, on_machine: bool, **wish: Any) -> None:
        """Download a known data set and prepare it; without a name, say which there are."""
        if name is None:
            _print_known(given)
            return
        asked = verbs.Wish(name, **wish)
        if on_machine:
            counts = verbs.fetch_on_machine(given.desk(), asked)
        else:
            counts = verbs.fetch(given.desk(), asked)
        where = "on the machine: " if on_machine else ""
        given.show(
            {"name": asked.called, "where": "machine" if on_machine else "home", **counts_document(counts)},
            f"{where}data/{asked.called}: {describe(counts)}",
        )

    @command(data, "ls")
    def ls(given: Given) -> None:
        """The data sets at home, and on the machine where it runs."""
        found = holdings.everywhere(given.desk())
        if given.json:
            print_json({each.name: {"where": each.where, **counts_document(each.counts)} for each in found})
        else:
            click.echo("\n".join(map(_line, found)) or "no data set in ./data, and none seen on the machine")

    @command(data, "push")
    @click.option("--checksum", is_flag=True, help="Compare every byte, not sizes and times.")
    @click.argument("name", metavar="NAME")
    def push(given: Given, name: str, checksum: bool) -> None:
        """Send a data set to the machine, or what of it has changed, without training."""
        copied = verbs.push(given.desk(), name, checksum=checksum)
        text = f"data/{name}: {copied.files} files sent, {copied.removed} removed there"
        given.show({"name": name, **asdict(copied)}, text if any(asdict(copied).values()) else f"data/{name} is there")


def _print_known(given: Given) -> None:
    known = catalog.load()
    if given.json:
        print_json({name: {"title": each.title, "licence": each.licence} for name, each in known.items()})
        return
    width = max(map(len, known))
    lines = [
        f"{name.ljust(width)}  {each.title}\n{' ' * width}  licence: {each.licence}" for name, each in known.items()
    ]
    click.echo("\n".join([*lines, f"{'kaggle:NAME'.ljust(width)}  any competition of images on Kaggle"]))


def _line(each: holdings.Holding) -> str:
    where = {"home": "at home", "machine": "on the machine", "both": "at home and on the machine"}[each.where]
    return f"{each.name} ({where}): {describe(each.counts)}"
