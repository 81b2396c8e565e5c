"""CIFAR-10 as its two archives hold it: the same images in the same order from both."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from ..errors import GpuError
from . import archives

Pictures = dict[str, list[tuple[int, Callable[[], Image.Image]]]]
"""Label and RGB image, made when it is asked for: all of them at once would take half a gigabyte."""

_SIDE = 32
_PIXELS = _SIDE * _SIDE
_Halves = dict[str, tuple[Sequence[str], str]]


def _halves(suffix: str, labels: str, batches: int) -> _Halves:
    """The batches and the list of labels, if any, of the training images and of the test images."""
    train = [f"data_batch_{number}.{suffix}" for number in range(1, batches + 1)]
    named = {half: labels and f"{half}_{labels}.json" for half in ("train", "test")}
    return {"train": (train, named["train"]), "test": ([f"test_batch.{suffix}"], named["test"])}


FILES = {
    "cifar-binary": _halves("bin", "", 1),
    "cifar-png": _halves("png", "lables", 1),
    "cifar-binary-whole": _halves("bin", "", 5),
    "cifar-png-whole": _halves("png", "lables", 5),
}
"""By the layout that `datasets.yaml` names: the first training batch alone, or all five."""


def pictures(archive: Path, layout: str) -> Pictures:
    """The training images (`train`) and the test images (`test`), in the archive's order."""
    halves = FILES[layout]
    wanted = {name for batches, labels in halves.values() for name in (*batches, labels) if name}
    found: dict[str, bytes] = {}
    for entry in archives.entries(archive):
        if not entry.is_folder and entry.parts[-1] in wanted:
            found[entry.parts[-1]] = b"".join(entry.chunks())
    if missing := sorted(wanted - set(found)):
        raise GpuError(f"{archive} has no {missing[0]}", "Remove it and fetch again")
    made: Pictures = {}
    for half, (batches, labels) in halves.items():
        packed = [found.pop(name) for name in batches]
        made[half] = list(_png(packed, found[labels]) if labels else _binary(packed))
    return made


def _binary(batches: Sequence[bytes]) -> Iterator[tuple[int, Callable[[], Image.Image]]]:
    """Records of a label byte and three planes of 1,024 bytes: red, green, blue."""
    record = 1 + 3 * _PIXELS
    for batch in batches:
        for start in range(0, len(batch) - record + 1, record):
            yield batch[start], partial(_of_planes, batch[start + 1 : start + record])


def _of_planes(planes: bytes) -> Image.Image:
    bands = [Image.frombytes("L", (_SIDE, _SIDE), planes[i * _PIXELS : (i + 1) * _PIXELS]) for i in range(3)]
    return Image.merge("RGB", bands)


def _png(batches: Sequence[bytes], labels: bytes) -> Iterator[tuple[int, Callable[[], Image.Image]]]:
    """Each row of 1,024 RGB pixels is one image, row by row; the labels of all batches are in one list."""
    size = 3 * _PIXELS
    numbers = iter(json.loads(labels))
    for batch in batches:
        with Image.open(io.BytesIO(batch), formats=("PNG",)) as sheet:
            data = sheet.convert("RGB").tobytes()
        # First the images: zip takes one more of its first before it finds the second at its end.
        for index, label in zip(range(len(data) // size), numbers, strict=False):
            yield label, partial(Image.frombytes, "RGB", (_SIDE, _SIDE), data[index * size : (index + 1) * size])
