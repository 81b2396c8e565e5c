"""What the features tell about the photographs themselves: labels to be doubted, and pictures that are there twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch

from . import sketch, suspects, twins
from .sketch import Matrix


@dataclass(frozen=True)
class Examination:
    """Suspects and groups count in `items`."""

    items: Sequence[twins.Item]
    suspects: Sequence[suspects.Suspect]
    groups: Sequence[twins.Group]


def examine(
    items: Sequence[twins.Item], rows: Matrix, *, digests: Sequence[bytes] | None = None, device: torch.device
) -> Examination:
    """Of `items` with features `rows` (n, width), the labelled ones first; broken photographs are not among them."""
    labels = numpy.array([item.label for item in items if item.label is not None], dtype=numpy.int64)
    small = sketch.of(rows)
    doubted = suspects.find(small[: len(labels)], labels)
    return Examination(items, doubted, twins.find(items, small, digests=digests, device=device))
