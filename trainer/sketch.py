"""A few hundred numbers for each photograph that keep the distances between its thousands of features."""

from __future__ import annotations

from typing import Any

import numpy

Matrix = numpy.ndarray[Any, numpy.dtype[numpy.float32]]
WIDTH = 512
_BLOCK = 4096


def of(rows: Matrix) -> Matrix:
    """(n, at most 512) of features (n, width): each feature to mean 0 and spread 1, then a random projection.

    Distances survive it within a few percent (Johnson and Lindenstrauss 1984). The columns of the projection are
    alike, so that the first k of them are the sketch of width k. Always the same for the same features.
    """
    if not len(rows):
        return numpy.zeros((0, min(rows.shape[1], WIDTH)), dtype=numpy.float32)
    mean, spread = _statistics(rows)
    if rows.shape[1] <= WIDTH:
        return ((rows - mean) / spread).astype(numpy.float32)
    normal = numpy.random.default_rng(0).standard_normal((rows.shape[1], WIDTH), dtype=numpy.float32)
    projection = (normal / spread[:, None] / numpy.sqrt(WIDTH)).astype(numpy.float32)
    # In blocks: a standardized copy of all would need as much memory as the features themselves.
    blocks = [(rows[start : start + _BLOCK] - mean) @ projection for start in range(0, len(rows), _BLOCK)]
    return numpy.concatenate(blocks)


def _statistics(rows: Matrix) -> tuple[Matrix, Matrix]:
    total, squares = (numpy.zeros(rows.shape[1]) for _ in range(2))
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].astype(numpy.float64)
        total += block.sum(axis=0)
        squares += numpy.square(block).sum(axis=0)
    mean = total / len(rows)
    spread = numpy.sqrt((squares / len(rows) - mean**2).clip(0))
    # A feature that is the same in all of them says nothing, and must not be divided by nothing.
    spread[spread <= 1e-6 * numpy.abs(mean) + 1e-12] = numpy.inf
    return mean.astype(numpy.float32), spread.astype(numpy.float32)
