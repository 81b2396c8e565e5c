"""`gpu data check show`."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..data.check import Report
from ..data.findings import Finding
from ..verbs import inspection as verbs
from . import table
from .options import Given, command
from .terminal import print_json, printable

EXAMPLES = 3
"""Cases of each finding, unless all are asked for."""
MEMBERS = 4


def register(data: click.Group) -> None:
    @command(data, "check")
    @click.argument("name", metavar="NAME")
    @click.option(
        "--fix",
        is_flag=True,
        help="First move images that do not decode, and exact copies too many, to .quarantine/; nothing is deleted.",
    )
    @click.option("--strict", is_flag=True, help="Exit with 1 when anything is found (after --fix: is left).")
    def check(given: Given, name: str, fix: bool, strict: bool) -> None:
        """What is wrong with data/NAME: broken images, copies, leaks between train/ and valid/, and more.

        Looks at every image. Finds what does not decode; pictures that are there twice, byte for byte or saved, scaled
        or mirrored anew, above all in two parts (a leak) or two classes (a contradiction); classes that differ or are
        empty; imbalance; odd sizes; suspicious names; and what is hidden or lies where no image is looked for. -v lists
        every case.

        With --fix the copy that is trained on goes, never the one that is measured on: a test image always stays, of
        the others one in valid/, and only then one in train/. What contradicts itself and what merely looks alike is
        left to you.
        """
        report = verbs.check(given.desk(), name, fix=fix)
        if given.json:
            print_json(document(name, report))
        else:
            _show(name, report, everything=bool(given.verbose))
        if strict and report.findings:
            sys.exit(1)

    @command(data, "show")
    @click.argument("name", metavar="NAME")
    @click.option(
        "--most",
        type=click.IntRange(min=1),
        default=24,
        show_default=True,
        metavar="N",
        help="Images of each class in train/ and in valid/.",
    )
    @click.option("--seed", default=0, show_default=True, help="Another seed shows others.")
    @click.option("--open/--no-open", "opened", default=True, help="Open the page in the browser.  [default: open]")
    def show(given: Given, name: str, most: int, seed: int, opened: bool) -> None:
        """Make a page with images of every class of data/NAME, open it, and print its path.

        Images are chosen at random, the same ones for the same seed, and shown upright; a click shows the whole image.
        Those that do not decode say why.
        """
        page = verbs.show(given.desk(), name, most=most, seed=seed)
        given.show({"name": name, "page": str(page)}, str(page))
        if opened and not given.json and not _open(page):
            click.echo("no browser was found here: open it yourself", err=True)


def document(name: str, report: Report) -> dict[str, Any]:
    """For --json: every case of every finding."""
    return {
        "name": name,
        "images": len(report.contents.photos),
        "classes": report.contents.classes,
        "findings": [_finding(finding) for finding in report.findings],
        "moved": [asdict(moved) for moved in report.moved],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    cases = [
        {"files": list(case), **({"note": note} if note else {})}
        for case, note in zip(finding.cases, finding.notes, strict=True)
    ]
    return {"kind": finding.kind, "what": finding.what, "count": len(cases), "cases": cases}


def _show(name: str, report: Report, *, everything: bool) -> None:
    if report.findings:
        rows = [(one.kind, str(len(one.cases)), one.what) for one in report.findings]
        table.show(("finding", " count", "what"), rows, elastic="what")
        for finding in report.findings:
            click.echo(printable("\n".join(["", f"{finding.kind}:", *_lines(finding, everything=everything)])))
        click.echo()
    images, kinds = len(report.contents.photos), len(report.findings)
    moved = f"; {len(report.moved)} files are now in data/{name}/.quarantine" if report.moved else ""
    click.echo(f"data/{name}: {images:,} images, {kinds or 'no'} finding{'s' * (kinds != 1)}{moved}")


def _lines(finding: Finding, *, everything: bool) -> Iterator[str]:
    shown = len(finding.cases) if everything else EXAMPLES
    for case, note in list(zip(finding.cases, finding.notes, strict=True))[:shown]:
        files = case if everything else case[:MEMBERS]
        more = [f"and {len(case) - len(files)} more"] if len(case) > len(files) else []
        # A newline in a name must not look like another name.
        yield f"  {' = '.join([*files, *more])}{f' ({note})' if note else ''}".replace("\n", "\\n")
    if len(finding.cases) > shown:
        yield f"  and {len(finding.cases) - shown} more: gpu data check -v"


def _open(page: Path) -> bool:
    """Without a screen a browser for the terminal would be started, and take it away from who typed the command."""
    screen = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    return screen and webbrowser.open(page.absolute().as_uri())
