"""The whole page: one file, no script, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
import re

from . import performance, photographs, provenance, thumbnails, views
from .facts import Facts
from .markup import text
from .style import CSS

_STYLE = " ".join(CSS.split())


def page(facts: Facts, seed: int) -> bytes:
    """The HTML as UTF-8. `seed` chooses the photographs that are shown at random."""
    chosen = views.choose(facts.valid, seed)
    sources = thumbnails.read(photographs.wanted(facts, chosen))
    sections = [
        performance.curves(facts),
        performance.confusion(facts),
        performance.classes(facts),
        performance.reliability(facts),
        photographs.looks(facts, chosen, sources),
        photographs.doubts(facts, sources),
        photographs.repeats(facts, sources),
        photographs.unread(facts),
        provenance.ledger(facts),
        provenance.weights(facts),
        provenance.machine(facts),
        provenance.use(),
    ]
    title = f"{text(facts.result['model'])} on {text(facts.result['data'])}"
    document = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><style>{_STYLE}</style></head>
<body>{_header(facts, title, sections)}<main>{"".join(sections)}</main>
<footer>Made by gpu. The figures are of the validation photographs, which also chose weight decay and temperature.
</footer>
</body></html>
"""
    return document.encode()


def _policy() -> str:
    """Nothing but images inside the file and this one style: hostile names could not load or run anything."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _header(facts: Facts, title: str, sections: list[str]) -> str:
    sample = (
        '<p class="note">A run on the sample alone: these figures are a rehearsal.</p>'
        if facts.result["sample"]
        else ""
    )
    heads = (re.match(r'<section id="([a-z]+)"[^>]*><h2[^>]*>([^<]+)</h2>', part) for part in sections)
    links = "".join(f'<a href="#{head[1]}">{head[2]}</a>' for head in heads if head)
    return (
        f'<header><p class="over">Report of a training</p><h1>{title}</h1>{sample}{performance.headline(facts)}'
        f'{performance.points(facts)}<nav aria-label="Sections">{links}</nav></header>'
    )
