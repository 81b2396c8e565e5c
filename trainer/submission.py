"""What is handed in: one line for each test photograph, in natural order of the ids."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from .data import natural


def table(classes: Sequence[str], ids: Sequence[str], rows: Sequence[Sequence[float]]) -> bytes:
    """The CSV. Two classes: `id,label`, label = the probability of the second class in sorted order (dog, of cat and
    dog). More: `id,CLASS,CLASS,...` with the probability of each. ids whose bytes are no UTF-8 keep their bytes.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    two = len(classes) == 2
    writer.writerow(["id", "label"] if two else ["id", *classes])
    for name, row in sorted(zip(ids, rows, strict=True), key=lambda pair: natural(pair[0])):
        writer.writerow([name, *(f"{value:.6f}" for value in (row[1:] if two else row))])
    return text.getvalue().encode("utf-8", "surrogateescape")
