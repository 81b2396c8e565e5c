"""Columns for people: as wide as the terminal, and never cut where a pipe reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click

from .terminal import printable

PIPE_COLUMNS = 250


def show(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout; a column whose heading begins with a blank has its figures to the right."""
    # rich takes longer to load than most commands may.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns:
        table.add_column(Text(heading.strip()), justify="right" if heading.startswith(" ") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # One who widens a pipe's lines would break whoever reads them.
    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    console = Console(file=sys.stdout, width=width, highlight=False)
    with console.capture() as shown:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in shown.get().splitlines()))
