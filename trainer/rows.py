"""The features of a whole data set, split by split, without the photographs that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from .data import DataSet, Photo
from .errors import TrainerError
from .features import Extractor, Table
from .fit import Part
from .logbook import Logbook
from .probabilities import Array
from .store import Store


@dataclass(frozen=True)
class Rows:
    """`table` has a row for each photograph of train, valid and test in this order; view 0."""

    table: Table
    train: Part
    """Each photograph once for each of its views."""
    valid: Part
    test: Tensor
    """(questions, width), float32; the rows of `broken` are zero."""
    broken: tuple[int, ...]
    """Questions that cannot be read."""
    kept: tuple[list[Photo], list[Photo]]
    """The photographs of `train` (once) and `valid`."""

    def shares(self, classes: int) -> Array:
        """(classes): what is known of a photograph that cannot be read."""
        counts = numpy.bincount([photo.label for photo in self.kept[0]], minlength=classes)
        return counts / counts.sum()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Source:
    """Where features come from: a network with weights of this SHA-256, and the cache of what it has seen."""

    extractor: Extractor
    digest: str
    cache: Path

    def table(self, paths: Sequence[Path], log: Logbook, *, view: int = 0, seed: int = 0) -> Table:
        store = Store(self.cache, self.extractor.recipe(self.digest, view=view, seed=seed), self.extractor.width)
        if store.damaged:
            log.say(f"{store.damaged} damaged files of the feature cache are computed again")
        try:
            return self.extractor.run(paths, store, log.say, left=log.estimate)
        finally:
            store.save()
            if store.fault:
                log.say(f"warning: {self.cache} keeps no features ({store.fault}): another run computes them again")


def compute(data: DataSet, source: Source, log: Logbook, *, views: int = 0, seed: int = 0) -> Rows:
    """The features of `data`, and of `views` random parts more of each photograph to train on.

    `log` hears of each photograph that cannot be read. TrainerError when none of a class can.
    """
    photos = (*data.train, *data.valid)
    paths = [*(photo.path for photo in photos), *(question.path for question in data.test)]
    table = source.table(paths, log)
    for index, why in table.broken.items():
        log.set_aside(str(paths[index].relative_to(data.root)), why, predicted=index >= len(photos))
    train = _kept(data.train, table, 0, data.classes)
    valid = _kept(data.valid, table, len(data.train), data.classes)
    part = _part(table, data.train, train, 0)
    if views:
        part = _more(part, [data.train[index] for index in train], source, log, views=views, seed=seed)
    return Rows(
        table=table,
        train=part,
        valid=_part(table, data.valid, valid, len(data.train)),
        test=torch.from_numpy(table.rows[len(photos) :]),
        broken=tuple(index - len(photos) for index in table.broken if index >= len(photos)),
        kept=([data.train[index] for index in train], [data.valid[index] for index in valid]),
    )


def _more(part: Part, photos: Sequence[Photo], source: Source, log: Logbook, *, views: int, seed: int) -> Part:
    """With the rows of `views` further views below those of the whole photographs."""
    rows, labels = [part.rows], [part.labels]
    for view in range(1, views + 1):
        table = source.table([photo.path for photo in photos], log, view=view, seed=seed)
        if table.broken:
            index, why = next(iter(table.broken.items()))
            raise TrainerError(f"{photos[index].path} could be read before, and now {why}", "Train again")
        rows.append(torch.from_numpy(table.rows))
        labels.append(part.labels)
    return Part(torch.cat(rows), torch.cat(labels))


def _kept(photos: Sequence[Photo], table: Table, start: int, classes: Sequence[str]) -> list[int]:
    found = [index for index in range(len(photos)) if start + index not in table.broken]
    missing = set(range(len(classes))) - {photos[index].label for index in found}
    if missing:
        folder = next(photo.path.parent for photo in photos if photo.label in missing)
        raise TrainerError(f"none of the photographs in {folder} can be read", "Replace them")
    return found


def _part(table: Table, photos: Sequence[Photo], kept: Sequence[int], start: int) -> Part:
    labels = numpy.array([photos[index].label for index in kept], dtype=numpy.int64)
    return Part.of(table.rows[[start + index for index in kept]], labels)
