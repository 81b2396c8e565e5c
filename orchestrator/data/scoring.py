"""How good a submission is, where the true classes are known: accuracy and log loss, each with its interval."""

from __future__ import annotations

import csv
import io
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import GpuError

ACCURACY = "accuracy"
LEVEL = 0.95
"""How often an interval should contain the truth."""
_Z = 1.959964
_EDGE = 1e-15
"""Kaggle's: no probability is nearer to 0 or 1."""
_DRAWS = 2000
_WORK = 4_000_000
"""Values drawn in all: fewer times of many images, whose interval is narrow anyway."""


@dataclass(frozen=True)
class Figure:
    """A value with the interval in which the truth is, 95 times of 100."""

    value: float
    low: float
    high: float

    def agrees(self, other: Figure) -> bool:
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Score:
    """Of `images`; there is no log loss of a submission that names classes instead of probabilities."""

    images: int
    accuracy: Figure
    log_loss: Figure | None


def score(file: Path, labels: Mapping[str, str], classes: Sequence[str], metric: str) -> Score:
    """Of the submission `file`, made for `metric` by a network with these `classes` in its order, where `labels` has
    the true class of each id. GpuError says in what the two do not agree."""
    if strangers := sorted(set(labels.values()) - set(classes)):
        raise GpuError(f"the run knows no class {strangers[0]!r}", "Train on the data set as it is now")
    header, rows = _table(file)
    if differing := set(rows) ^ set(labels):
        some = ", ".join(sorted(differing)[:5])
        raise GpuError(f"{file} and the sealed test differ in {len(differing)} ids, {some}", "Train again")
    truth = [(rows[id_], classes.index(label)) for id_, label in labels.items()]
    if metric == ACCURACY:
        right = sum(_named(cells, classes, file) == label for cells, label in truth)
        return Score(len(truth), wilson(right, len(truth)), None)
    columns = _columns(header, classes, file)
    shares = [(_probabilities(cells, columns, len(classes), file), label) for cells, label in truth]
    right = sum(max(range(len(row)), key=row.__getitem__) == label for row, label in shares)
    losses = [-math.log(min(max(row[label], _EDGE), 1 - _EDGE)) for row, label in shares]
    return Score(len(truth), wilson(right, len(truth)), bootstrap(losses))


def wilson(right: int, n: int) -> Figure:
    """The share `right` / `n` with Wilson's interval.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    share, square = right / n, _Z * _Z / n
    middle = (share + square / 2) / (1 + square)
    half = _Z / (1 + square) * math.sqrt(share * (1 - share) / n + square / (4 * n))
    return Figure(share, min(max(0.0, middle - half), share), max(min(1.0, middle + half), share))


def bootstrap(values: Sequence[float]) -> Figure:
    """The mean with the interval in which 95 of 100 means of as many values drawn from these are.

    B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979).
    """
    chance, n = random.Random(0), len(values)
    ordered = sorted(values)
    draws = max(200, min(_DRAWS, _WORK // n))
    means = sorted(math.fsum(chance.choices(ordered, k=n)) / n for _ in range(draws))
    tail = int(draws * (1 - LEVEL) / 2)
    mean = math.fsum(ordered) / n
    return Figure(mean, min(mean, means[tail]), max(mean, means[-1 - tail]))


def _table(file: Path) -> tuple[list[str], dict[str, list[str]]]:
    try:
        text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except OSError as error:
        raise GpuError(f"{file} cannot be read: {error.strerror}", "Bring the run home again: gpu pull") from error
    except csv.Error as error:
        raise _unfit(file, f"it is no CSV ({error})") from error
    if len(lines) < 2 or any(len(line) != len(lines[0]) or len(line) < 2 for line in lines):
        raise _unfit(file, "its rows are not like its header")
    rows = {line[0]: line[1:] for line in lines[1:]}
    if len(rows) < len(lines) - 1:
        raise _unfit(file, "an id is there twice")
    return lines[0], rows


def _columns(header: Sequence[str], classes: Sequence[str], file: Path) -> list[int] | None:
    """The class of each column; None for the one column that has the probability of the second of two."""
    if len(header) == 2 and len(classes) == 2:
        return None
    if sorted(header[1:]) != sorted(classes):
        raise _unfit(file, "its columns are not the classes of the run")
    return [classes.index(name) for name in header[1:]]


def _probabilities(cells: Sequence[str], columns: Sequence[int] | None, classes: int, file: Path) -> list[float]:
    try:
        found = [float(cell) for cell in cells]
    except ValueError as error:
        raise _unfit(file, "it has something else than numbers") from error
    if not all(0 <= value <= 1 for value in found):
        raise _unfit(file, "it has probabilities that are none")
    if columns is None:
        return [1 - found[0], found[0]]
    row = [0.0] * classes
    for column, value in zip(columns, found, strict=True):
        row[column] = value
    # Rounded to six places they need not add up to one.
    total = sum(row)
    if not total:
        raise _unfit(file, "it has rows of zeros")
    return [value / total for value in row]


def _named(cells: Sequence[str], classes: Sequence[str], file: Path) -> int:
    """The class that an accuracy submission names: by its name, or by 0 and 1 where there are two."""
    if cells[0] in classes:
        return classes.index(cells[0])
    if len(classes) == 2 and cells[0] in ("0", "1"):
        return int(cells[0])
    raise _unfit(file, f"it names the class {cells[0]!r}, which the run has not")


def _unfit(file: Path, why: str) -> GpuError:
    return GpuError(f"{file} cannot be scored: {why}", "Bring the run home again: gpu pull")
