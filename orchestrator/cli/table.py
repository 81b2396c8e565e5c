"""Columns for people: never cut where a pipe reads them, and no figure anywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click

from .terminal import printable

GAP = 2
LEAST = 4
"""Characters that an elastic column keeps."""


def show(columns: Sequence[str], rows: Iterable[Sequence[str]], *, elastic: str = "") -> None:
    """A table on stdout; a column whose heading begins with a blank has its figures to the right. On a terminal that
    is too narrow the column `elastic` alone is shortened: a figure is never cut."""
    # rich takes longer to load than most commands may.
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[printable(cell) for cell in row] for row in rows]
    # East Asian characters are two columns wide.
    widths = [max(map(cell_len, column)) for column in zip([c.strip() for c in columns], *cells, strict=True)]
    needed = sum(widths) + GAP * (len(widths) - 1)
    missing = needed - Console(file=sys.stdout).width if sys.stdout.isatty() else 0
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for heading, width in zip(columns, widths, strict=True):
        width = max(LEAST, width - max(0, missing)) if heading == elastic else width
        title, right = Text(heading.strip()), heading.startswith(" ")
        table.add_column(title, justify="right" if right else "left", no_wrap=True, width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    # Wide enough for what was measured above, whatever the terminal.
    console = Console(file=sys.stdout, width=needed + len(widths) * LEAST + GAP, highlight=False)
    with console.capture() as shown:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in shown.get().splitlines()))
