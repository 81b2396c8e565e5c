"""What is handed in: one line for each test photograph, as the competition's sample file has them. No torch."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from . import run_folder
from .data import natural
from .errors import TrainerError, UsageError
from .plain import csv_line

LOG_LOSS = "log_loss"
ACCURACY = "accuracy"
METRICS = (LOG_LOSS, ACCURACY)
_SAMPLES = ("sample_submission.csv", "sampleSubmission.csv")
_NAMED = 5
"""Ids that an error names; the rest are counted."""


def find_sample(data: Path) -> Path | None:
    """The competition's sample file in the data set's folder, when there is one."""
    return next((data / name for name in _SAMPLES if (data / name).is_file()), None)


@dataclass(frozen=True)
class Table:
    """A CSV: its header, and its rows by their ids."""

    header: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]

    @classmethod
    def read(cls, file: Path) -> Table:
        """TrainerError when it is no table with an id in the first column, each once."""
        try:
            text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
            lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
        except OSError as error:
            raise TrainerError(f"{file} cannot be read: {error.strerror}", "Check its mode and owner") from error
        except csv.Error as error:
            raise TrainerError(f"{file} is no CSV: {error}", "Get it again") from error
        if not lines or len(lines[0]) < 2:
            raise TrainerError(f"{file} has no header with an id and a column", "Get it again")
        rows: dict[str, tuple[str, ...]] = {}
        for number, line in enumerate(lines[1:], 2):
            if len(line) != len(lines[0]):
                what = f"row {number} of {file} has {len(line)} columns and its header {len(lines[0])}"
                raise TrainerError(what, "Get it again")
            if line[0] in rows:
                raise TrainerError(f"{file} has the id {line[0]} twice", "Get it again")
            rows[line[0]] = tuple(line[1:])
        return cls(tuple(lines[0]), rows)


@dataclass(frozen=True)
class Form:
    """How a submission is written: its header, the id that each photograph has in it, and what stands in a column."""

    header: tuple[str, ...]
    ids: tuple[str, ...]
    """In the order of the photographs."""
    columns: tuple[int, ...]
    """The class whose probability is in each column; none for an accuracy submission."""
    labels: tuple[str, ...]
    """What an accuracy submission writes for each class."""

    @classmethod
    def of(
        cls, classes: Sequence[str], ids: Sequence[str], *, metric: str = LOG_LOSS, sample: Path | None = None
    ) -> Form:
        """The form for `classes` (in the network's order) and the photographs `ids`.

        Without `sample`: `id,label` for two classes, the label being the probability of the second (log loss) or 0 or
        1 (accuracy); for more, `id,CLASS,...` with the probability of each, or `id,label` with the class's name. With
        `sample`, its header and ids. TrainerError says all at once in what they do not agree with these photographs.
        """
        if metric not in METRICS:
            raise UsageError(f"there is no metric {metric}", f"There are {' and '.join(METRICS)}")
        given = Table.read(sample) if sample else None
        two = len(classes) == 2
        single = metric == ACCURACY or (two and (given is None or len(given.header) == 2))
        wanted = ("label",) if single else tuple(classes)
        header = given.header if given else ("id", *wanted)
        faults = [] if given is None else [*_headers(given.header, wanted, single), *_ids(given, ids)]
        if faults:
            raise TrainerError(
                f"the photographs do not fit {sample}: {'; '.join(faults)}",
                "Mend the data set, or take the file away to submit without it",
            )
        # A single column is the second class's, unless it has the name of the first.
        columns = tuple(classes.index(name) if name in classes else 1 for name in header[1:])
        names = tuple(given.rows) if given else ()
        return cls(header, _as_in(names, ids), () if metric == ACCURACY else columns, _labels(classes, given))

    def table(self, rows: Sequence[Sequence[float]]) -> bytes:
        """The CSV of the probabilities `rows`, one for each photograph, in natural order of the ids.

        Ids whose bytes are no UTF-8 keep their bytes.
        """
        places = _places(min((row[column] for row in rows for column in self.columns), default=1.0))
        lines = [csv_line(self.header)]
        for name, row in sorted(zip(self.ids, rows, strict=True), key=lambda pair: natural(pair[0])):
            lines.append(csv_line([name, *self._cells(row, places)]))
        return "".join(lines).encode("utf-8", "surrogateescape")

    def _cells(self, row: Sequence[float], places: int) -> list[str]:
        if not self.columns:
            return [self.labels[max(range(len(row)), key=row.__getitem__)]]
        return [f"{row[column]:.{places}f}" for column in self.columns]


def _places(least: float) -> int:
    """Decimals: six, and more where the least probability would else lose digits, and what it was clipped to."""
    return max(6, 2 - math.floor(math.log10(least))) if 0 < least < 1 else 6


def check(file: Path, sample: Path) -> None:
    """TrainerError names all in which the submission `file` does not agree with the competition's `sample` file."""
    here, there = Table.read(file), Table.read(sample)
    faults = []
    if here.header != there.header:
        faults.append(f"its header is {','.join(here.header)} and not {','.join(there.header)}")
    faults += _differing(tuple(here.rows), tuple(there.rows))
    empty = [name for name, cells in here.rows.items() if not all(cells)]
    faults += [f"nothing stands beside {_listed(empty)}"] if empty else []
    if faults:
        raise TrainerError(
            f"{file} does not fit {sample}: {'; '.join(faults)}", "Predict again with the right data set"
        )


def _headers(header: Sequence[str], wanted: Sequence[str], single: bool) -> list[str]:
    if single:
        return [] if len(header) == 2 else [f"its header {','.join(header)} has more than an id and a label"]
    strangers, missing = sorted(set(header[1:]) - set(wanted)), sorted(set(wanted) - set(header[1:]))
    faults = [f"it has a column for {_listed(strangers)}, which is no class"] if strangers else []
    faults += [f"it has no column for {_listed(missing)}"] if missing else []
    return faults + (["it has a column twice"] if len(set(header)) < len(header) else [])


def _ids(given: Table, ids: Sequence[str]) -> list[str]:
    return _differing(_as_in(tuple(given.rows), ids), tuple(given.rows))


def _as_in(names: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """`ids` as the sample file spells them: some competitions' ids are the names of the files, `img_1.jpg`."""
    files = [PurePath(name) for name in names]
    spelled = {file.stem: str(file) for file in files if file.suffix.lower() in run_folder.IMAGE_SUFFIXES}
    known = set(names)
    return tuple(name if name in known else spelled.get(name, name) for name in ids)


def _differing(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    missing = sorted(set(theirs) - set(ours), key=natural)
    extra = sorted(set(ours) - set(theirs), key=natural)
    faults = [f"no photograph for {_listed(missing)}"] if missing else []
    return faults + ([f"{_listed(extra)} asked for by nobody"] if extra else [])


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _labels(classes: Sequence[str], given: Table | None) -> tuple[str, ...]:
    """Names for more than two classes, or where the sample file has them; otherwise 0 and 1."""
    shown = {row[0] for row in given.rows.values()} if given else set()
    named = len(classes) > 2 or (bool(shown) and shown <= set(classes))
    return tuple(classes) if named else ("0", "1")


def table(classes: Sequence[str], ids: Sequence[str], rows: Sequence[Sequence[float]]) -> bytes:
    """The CSV for log loss where the competition has given no sample file."""
    return Form.of(classes, ids).table(rows)
