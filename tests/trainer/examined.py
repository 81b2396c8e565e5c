"""Real photographs with their features, and copies of some of them, made as copies are made."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

from trainer import images, models, sketch, weights

ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "dogscats-kaggle" / "train.zip"
EACH = 40
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved": lambda image: image,
    "scaled": lambda image: image.resize((image.width * 7 // 10, image.height * 7 // 10), Image.Resampling.BICUBIC),
    "mirrored": ImageOps.mirror,
}


@dataclass(frozen=True)
class Examined:
    """`paths` are 40 cats, 40 dogs, then the copies; `origin` names the photograph that each copy was made from."""

    paths: list[Path]
    labels: numpy.ndarray
    sketch: numpy.ndarray
    origin: dict[int, int]


@pytest.fixture(scope="session")
def examined(tmp_path_factory: pytest.TempPathFactory) -> Examined:
    if not ARCHIVE.exists():
        pytest.skip("there are no real photographs here")
    return _made(tmp_path_factory.getbasetemp() / "examined")


@functools.cache
def _made(folder: Path) -> Examined:
    """Once for a process, however many modules ask."""
    folder.mkdir()
    paths = []
    with zipfile.ZipFile(ARCHIVE) as archive:
        for name in ("cat", "dog"):
            for number in range(EACH):
                paths.append(folder / f"{name}.{number}.jpg")
                paths[-1].write_bytes(archive.read(f"train/{name}.{number}.jpg"))
    origin = {}
    for number, (name, change) in enumerate(CHANGES.items()):
        for source in (number, EACH + number):
            origin[len(paths)] = source
            paths.append(folder / f"{name}.{source}.jpg")
            change(Image.open(paths[source]).convert("RGB")).save(paths[-1], quality=70)
    return Examined(paths, numpy.repeat([0, 1], EACH), sketch.of(_features(paths, folder)), origin)


def _features(paths: list[Path], folder: Path) -> numpy.ndarray:
    name = "efficientnet_lite0"
    network, how = models.build(name), models.preprocessing(name)
    models.load(network, weights.load(weights.obtain(name, weights.Wanted(), folder, print)))
    network.set_head(nn.Identity())
    mean, std = torch.tensor(how.mean), torch.tensor(how.std)
    rows = []
    with torch.inference_mode():
        for path in paths:
            pixels = torch.from_numpy(images.decode(path.read_bytes(), how).copy())
            planes = ((pixels / 255 - mean) / std).permute(2, 0, 1)
            rows.append(network.whole(torch.stack([planes, planes.flip(2)])).mean(0))
    return torch.stack(rows).numpy()
