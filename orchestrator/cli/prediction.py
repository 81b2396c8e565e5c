"""`gpu predict`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import GpuError
from ..verbs import predict as verbs
from ..verbs.predict import Prediction
from . import table
from .options import Given, Group, command
from .terminal import print_json


def register(gpu: Group) -> None:
    @command(gpu, "predict")
    @click.option(
        "--top", type=click.IntRange(min=1), default=1, show_default=True, metavar="K", help="K classes each."
    )
    @click.option("--csv", "as_csv", is_flag=True, help="As CSV on stdout.")
    @click.argument("run", metavar="RUN")
    @click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE|FOLDER...")
    def predict(given: Given, run: str, files: tuple[Path, ...], top: int, as_csv: bool) -> None:
        """Class and probability of images at home, by a run's weights; RUN may be `last`."""
        if as_csv and given.json:
            raise click.UsageError("Give either --csv or --json.")
        found = verbs.predict(verbs.choose(Path.cwd() / "runs", run), files, top=top)
        if given.json:
            print_json([_document(one) for one in found])
        elif as_csv:
            sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
            csv.writer(sys.stdout, lineterminator="\n").writerows(_rows(found, percent=False))
        elif any(one.top for one in found):
            heading, *rows = _rows(found, percent=True)
            table.show(heading, rows, elastic="file")
        _complain(found)


def _complain(found: Sequence[Prediction]) -> None:
    broken = [one for one in found if one.error]
    if broken:
        listed = "\n".join(f"  {one.file}: {one.error}" for one in broken)
        raise GpuError(f"{len(broken)} of {len(found)} files could not be predicted:\n{listed}")


def _rows(found: Sequence[Prediction], *, percent: bool) -> Iterator[list[str]]:
    """The heading and the predictions; for people the figures are shares, for programs numbers."""
    most = max(len(one.top) for one in found)
    numbers = ["", *(f"_{number}" for number in range(2, most + 1))]
    yield ["file", *(f"{word}{number}" for number in numbers for word in ("class", "probability"))]
    for one in found:
        if one.top:
            pairs = ((name, f"{value:.2%}" if percent else f"{value:.6f}") for name, value in one.top)
            yield [one.file, *(cell for pair in pairs for cell in pair)]


def _document(one: Prediction) -> dict[str, Any]:
    if one.error:
        return {"file": one.file, "error": one.error}
    top = [{"class": name, "probability": value} for name, value in one.top]
    return {"file": one.file, "class": one.top[0][0], "probability": one.top[0][1], "top": top}
