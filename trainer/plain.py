"""Names of files and folders as people can read them: each may hold any byte but a slash."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable


def printable(text: str) -> str:
    """It must neither drive a terminal nor break a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def csv_line(cells: Iterable[str]) -> str:
    """One record with its end, of any cells: csv alone quotes a carriage return only where lines end in one."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue()[:-2] + "\n"
