"""Pieces of HTML. Every text goes through `text`: names of files and classes come from strangers."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def text(value: object) -> str:
    """The value as HTML text, fit for an attribute too; what cannot be seen or is no character is spelled out."""
    return html.escape("".join(_seen(character) for character in str(value)))


def _seen(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        # How Python holds a byte of a file's name that is no UTF-8.
        return f"\\x{number - 0xDC00:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def name(path: Path, root: Path) -> str:
    """Where a photograph is under `root`, as text that cannot turn round what stands beside it."""
    shown = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return f"<bdi>{text(shown.as_posix())}</bdi>"


def share(value: float) -> str:
    """0.9875 as 98.8 %, as HTML; never rounded up to all of them, nor down to none."""
    if value != value:
        return "none"
    rounded = round(value * 100, 1)
    if rounded >= 100 and value < 1:
        return "&gt; 99.9 %"
    if rounded <= 0 and value > 0:
        return "&lt; 0.1 %"
    return f"{rounded:.1f} %" if value not in (0, 1) else f"{value * 100:.0f} %"


def count(number: int, noun: str) -> str:
    """`1,200 photographs`, `1 photograph`."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def section(identity: str, title: str, *content: str) -> str:
    body = "".join(content)
    return f'<section id="{identity}" aria-labelledby="h-{identity}"><h2 id="h-{identity}">{title}</h2>{body}</section>'


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """The first cell of each row names it. On a narrow screen the table scrolls inside its own frame."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    body = "".join(f'<tr><th scope="row">{row[0]}</th>{"".join(row[1:])}</tr>' for row in rows)
    frame = f'<div class="scroll" role="region" tabindex="0" aria-label="{text(title)}">'
    return f'{frame}<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cell(content: str, kind: str = "") -> str:
    return f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>"


def listed(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values, one below the other."""
    return f"<dl>{''.join(f'<div><dt>{key}</dt><dd>{value}</dd></div>' for key, value in rows)}</dl>"


def folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>{content}</details>"
