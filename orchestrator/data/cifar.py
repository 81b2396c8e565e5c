"""CIFAR-10 as its two archives hold it: the same images in the same order from both."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ..errors import GpuError
from . import archives

Pictures = dict[str, list[tuple[int, Image.Image]]]

_SIDE = 32
_PIXELS = _SIDE * _SIDE
_FILES = {
    "cifar-binary": {"train": ("data_batch_1.bin", ""), "test": ("test_batch.bin", "")},
    "cifar-png": {
        "train": ("data_batch_1.png", "train_lables.json"),
        "test": ("test_batch.png", "test_lables.json"),
    },
}


def pictures(archive: Path, layout: str) -> Pictures:
    """Label and RGB image of the first training batch (`train`) and of the test batch (`test`)."""
    wanted = {name for pair in _FILES[layout].values() for name in pair if name}
    found: dict[str, bytes] = {}
    for entry in archives.entries(archive):
        if not entry.is_folder and entry.parts[-1] in wanted:
            found[entry.parts[-1]] = b"".join(entry.chunks())
    if missing := sorted(wanted - set(found)):
        raise GpuError(f"{archive} has no {missing[0]}", "Remove it and fetch again")
    read = _binary if layout == "cifar-binary" else _png
    return {half: list(read(found[pair[0]], found.get(pair[1], b""))) for half, pair in _FILES[layout].items()}


def _binary(batch: bytes, _labels: bytes) -> Iterator[tuple[int, Image.Image]]:
    """Records of a label byte and three planes of 1,024 bytes: red, green, blue."""
    record = 1 + 3 * _PIXELS
    for start in range(0, len(batch) - record + 1, record):
        planes = [batch[start + 1 + i * _PIXELS : start + 1 + (i + 1) * _PIXELS] for i in range(3)]
        bands = [Image.frombytes("L", (_SIDE, _SIDE), plane) for plane in planes]
        yield batch[start], Image.merge("RGB", bands)


def _png(batch: bytes, labels: bytes) -> Iterator[tuple[int, Image.Image]]:
    """Each row of 1,024 RGB pixels is one image, row by row."""
    with Image.open(io.BytesIO(batch)) as sheet:
        data = sheet.convert("RGB").tobytes()
    size = 3 * _PIXELS
    # The labels of all training batches are in one list; the first batch has the first of them.
    for index, label in zip(range(len(data) // size), json.loads(labels), strict=False):
        yield label, Image.frombytes("RGB", (_SIDE, _SIDE), data[index * size : (index + 1) * size])
