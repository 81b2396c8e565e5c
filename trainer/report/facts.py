"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from ..examination import Examination

Array = numpy.ndarray[Any, numpy.dtype[Any]]


@dataclass(frozen=True)
class Answered:
    """The validation photographs: `labels` (n) and the `probabilities` (n, classes) that they were given."""

    paths: Sequence[Path]
    labels: Array
    probabilities: Array

    @property
    def guesses(self) -> Array:
        return self.probabilities.argmax(axis=1)  # type: ignore[no-any-return]

    @property
    def confusion(self) -> Array:
        """(classes, classes): photographs by true class and by the class that they were taken for."""
        counts = numpy.zeros((self.probabilities.shape[1],) * 2, dtype=numpy.int64)
        numpy.add.at(counts, (self.labels, self.guesses), 1)
        return counts


@dataclass(frozen=True)
class Facts:
    """A finished training. Photographs are named by where they are under `root`.

    `result` is what result.json holds; of it `expected` (the log losses with their intervals, calibration.Calibration),
    `stages` (seconds by name) and `limiting` (one of them) may be missing. `weights` has the `source` and `sha256` of
    what the training began with, `manifest` is manifest.json.
    """

    classes: Sequence[str]
    root: Path
    valid: Answered
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, Any]
    weights: Mapping[str, str]
    examination: Examination
    manifest: Mapping[str, Any]
