"""Painted data sets: red cats and blue dogs, small enough to be learned in a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from trainer import data, job, weights

from .hardware import DEVICE

COLOURS = {"cat": (200, 60, 40), "dog": (40, 60, 200)}


def paint(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    noise = numpy.random.default_rng(seed).integers(-40, 40, (48, 64, 3))
    pixels = (numpy.array(colour) + noise).clip(0, 255).astype(numpy.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    """8 + 4 of each class, and a test set 1 ... 11 in which the odd ones are dogs."""
    root = tmp_path / "painted"
    for label, (name, colour) in enumerate(COLOURS.items()):
        for part, count in (("train", 8), ("valid", 4), ("sample/train", 3), ("sample/valid", 2)):
            for number in range(count):
                seed = hash((label, len(part), number)) % 2**32
                paint(root / part / name / f"{name}.{number}.jpg", colour, seed)
    for number in range(1, 12):
        paint(root / "test" / f"{number}.jpg", COLOURS["dog" if number % 2 else "cat"], number)
    return root


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., tuple[Path, list[str]]]:
    """Train in this process; the run's folder and what was said."""

    def run(
        root: Path, *, out: str = "out", sample: bool = False, epochs: int | None = None, **more: Any
    ) -> tuple[Path, list[str]]:
        said: list[str] = []
        options = job.Options(
            tmp_path / out, tmp_path / "cache", "efficientnet_lite0", weights.Wanted(), epochs, 8, 0, DEVICE
        )
        options = replace(options, **more)
        job.Job(options, data.walk(root, sample=sample), said.append).run()
        return tmp_path / out, said

    return run
