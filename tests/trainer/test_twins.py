from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy
import pytest
from PIL import Image

from trainer import twins
from trainer.twins import Group, Item

from .conftest import COLOURS, paint
from .examined import EACH, Examined, examined

__all__ = ["examined"]


def items(examined: Examined) -> list[Item]:
    """The copies are test photographs, every fourth of the others is for validation."""
    known = [Item(p, "train" if i % 4 else "valid", int(i >= EACH)) for i, p in enumerate(examined.paths[: 2 * EACH])]
    return known + [Item(path, "test", None) for path in examined.paths[2 * EACH :]]


def test_copies_of_real_photographs_are_found_and_nothing_else(examined: Examined) -> None:
    found = twins.find(items(examined), examined.sketch)
    assert sorted(group.members for group in found) == sorted((b, a) for a, b in examined.origin.items())
    assert not any(group.exact for group in found)
    assert all(group.leaks(items(examined)) for group in found)


def test_the_same_bytes_are_found_under_any_name(examined: Examined, tmp_path: Path) -> None:
    for index, name in ((2, "a.jpg"), (2, "b.jpg"), (50, "c.jpg")):
        shutil.copy(examined.paths[index], tmp_path / name)
    copies = [Item(tmp_path / "a.jpg", "train", 1), Item(tmp_path / "b.jpg", "train", 0)]
    copies.append(Item(tmp_path / "c.jpg", "valid", 1))
    known = items(examined)[: 2 * EACH]
    rows = examined.sketch[[*range(2 * EACH), 2, 2, 50]]
    wanted = [Group((50, 82), exact=True), Group((2, 80, 81), exact=True)]
    found = twins.find(known + copies, rows)
    assert found == wanted
    assert [(g.leaks(known + copies), g.contradicts(known + copies)) for g in found] == [(True, False), (False, True)]
    digests = [hashlib.sha256(item.path.read_bytes()).digest() for item in known + copies]
    assert twins.find(known + copies, rows, digests=digests) == wanted


def test_a_copy_of_one_of_two_that_are_the_same_joins_them(examined: Examined, tmp_path: Path) -> None:
    again = tmp_path / "again.jpg"
    shutil.copy(examined.paths[0], again)
    photos = [
        Item(path, "train", 0) for path in (examined.paths[0], again, examined.paths[2 * EACH], *examined.paths[3:9])
    ]
    rows = examined.sketch[[0, 0, 2 * EACH, *range(3, 9)]]
    assert twins.find(photos, rows) == [Group((0, 1, 2), exact=False)]


def test_photographs_of_nothing_but_noise_are_no_twins(tmp_path: Path) -> None:
    """All are alike to the network; their pixels are not."""
    for number in range(20):
        paint(tmp_path / f"{number}.png", COLOURS["cat"], number)
    photos = [Item(tmp_path / f"{number}.png", "train", 0) for number in range(20)]
    alike = numpy.ones((20, 8), dtype=numpy.float32) + numpy.eye(20, 8, dtype=numpy.float32) / 100
    assert twins.find(photos, alike) == []


def test_a_hash_survives_its_mirror_and_a_lost_file(tmp_path: Path) -> None:
    random = numpy.random.default_rng(0)
    pixels = random.integers(0, 255, (6, 8, 3), dtype=numpy.uint8)
    image = Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)
    image.save(tmp_path / "one.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "other.png")
    Image.new("RGB", (80, 60), "white").save(tmp_path / "flat.png")
    one, other = (twins.perceptual_hash(tmp_path / name) for name in ("one.png", "other.png"))
    assert one is not None and other is not None
    assert (one[0] == other[1]).all() and (one[0] != other[0]).sum() > 10
    assert twins.perceptual_hash(tmp_path / "flat.png") is None
    assert twins.perceptual_hash(tmp_path / "missing.png") is None


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_to_be_twins(tmp_path: Path, count: int) -> None:
    photos = [Item(tmp_path / "a.jpg", "train", 0)] * count
    assert twins.find(photos, numpy.zeros((count, 4), dtype=numpy.float32)) == []
