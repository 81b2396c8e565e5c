"""A page that shows what is in a data set: some images of every class and part, chosen by a seed.

It lies in `data/.sheets/`: beside the data sets, so that it is never sent with one; and not in the cache, whose hidden
folder in the home folder some browsers may not read.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from trainer.run_folder import TEST

from ..reporter import Reporter
from . import decoding, staging
from .photos import PARTS, Photo, contents, natural
from .split import shuffled
from .thumbnails import Thumbnail, thumbnail

FOLDER = ".sheets"
_PAGE_LIMIT = 4000
"""Images on one page: about 20 MB, which a browser still shows at once."""
_STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --ink: #222; --faint: #777; --tile: #eee; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #1b1b1a; --ink: #eee; --faint: #999; --tile: #2a2a29;
  --bad: #ff8a80; } }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; } h2 { margin: 2.5rem 0 0; font-size: 1.25rem; overflow-wrap: anywhere; }
h3 { margin: 1rem 0 .5rem; font-size: .95rem; font-weight: 600; color: var(--faint); } p { color: var(--faint); }
nav a { margin-right: .8rem; color: inherit; overflow-wrap: anywhere; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem; }
figure { margin: 0; min-width: 0; } figure a { display: block; color: inherit; text-decoration: none; }
figure img, .broken { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--tile); display: block; }
.broken { display: grid; place-content: center; text-align: center; color: var(--bad); padding: .5rem;
  box-sizing: border-box; overflow: hidden; font-size: .8rem; overflow-wrap: anywhere; }
figcaption { font-size: .75rem; color: var(--faint); overflow-wrap: anywhere; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class _Sheet:
    """The images of one class in one part: how many there are, and those that are shown."""

    part: str
    label: str
    count: int
    photos: list[Photo]


def write(root: Path, name: str, reporter: Reporter, *, most: int, seed: int) -> Path:
    """The page of `root/name`, with at most `most` images of each class and part."""
    with staging.disk_errors(root):
        sheets = _chosen(contents(root / name).photos, most, seed)
        shown = [photo for sheet in sheets for photo in sheet.photos]
        small: dict[str, Thumbnail] = {}
        with reporter.progress("drawing", len(shown), "images") as bar, decoding.strictly():
            for photo, each in zip(shown, decoding.at_once(thumbnail, [p.path for p in shown]), strict=True):
                small[photo.place] = each
                bar.update(len(small))
        page = root / FOLDER / f"{name}.html"
        page.parent.mkdir(exist_ok=True)
        new = page.with_suffix(".new")
        new.write_text(_page(name, sheets, small), encoding="utf-8", errors="backslashreplace")
        new.rename(page)
    return page


def _chosen(photos: Sequence[Photo], most: int, seed: int) -> list[_Sheet]:
    """By class, train before valid; the test, which has no classes, last."""
    groups: dict[tuple[str, str], list[Photo]] = defaultdict(list)
    for photo in photos:
        groups[photo.label, photo.part].append(photo)
    most = min(most, max(1, _PAGE_LIMIT // max(1, len(groups))))
    sheets = []
    for label, part in sorted(groups, key=lambda key: (key[1] == TEST, natural(key[0]), PARTS.index(key[1]))):
        found = {photo.place: photo for photo in groups[label, part]}
        chosen = sorted(shuffled(found, seed, label, part)[:most], key=natural)
        sheets.append(_Sheet(part, label, len(found), [found[place] for place in chosen]))
    return sheets


def _page(name: str, sheets: Sequence[_Sheet], small: dict[str, Thumbnail]) -> str:
    headings = list(dict.fromkeys(sheet.label for sheet in sheets))
    links = "".join(f'<a href="#{number}">{escape(_title(label))}</a>' for number, label in enumerate(headings))
    body = []
    for number, label in enumerate(headings):
        body.append(f'<section id="{number}"><h2>{escape(_title(label))}</h2>')
        body += [_grid(name, sheet, small) for sheet in sheets if sheet.label == label]
        body.append("</section>")
    total = sum(sheet.count for sheet in sheets)
    about = f"{len(small):,} of {total:,} images" if sheets else "There is no image in it."
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{_POLICY}"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}</title><style>{_STYLE}</style><h1>{escape(name)}</h1><p>{about}</p>"
        f"<nav>{links}</nav>{''.join(body)}</html>\n"
    )


def _title(label: str) -> str:
    return label or "test, whose classes nobody has told"


def _grid(name: str, sheet: _Sheet, small: dict[str, Thumbnail]) -> str:
    shown = f"{len(sheet.photos):,} of {sheet.count:,}" if len(sheet.photos) < sheet.count else f"{sheet.count:,}"
    tiles = "".join(_tile(name, photo, small[photo.place]) for photo in sheet.photos)
    return f'<h3>{sheet.part}/ ({shown})</h3><div class="sheet">{tiles}</div>'


def _tile(name: str, photo: Photo, small: Thumbnail) -> str:
    file, where = escape(photo.path.name), quote(os.fsencode(f"../{name}/{photo.place}"))
    if small.problem:
        inner = f'<div class="broken">does not decode: {escape(small.problem)}</div>'
    else:
        inner = f'<img src="{small.uri}" alt="{file}">'
    size = "" if small.problem else f"<br>{small.size[0]} × {small.size[1]}"
    return f'<figure><a href="{where}">{inner}</a><figcaption>{file}{size}</figcaption></figure>'
