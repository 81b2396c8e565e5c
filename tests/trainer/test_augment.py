from __future__ import annotations

import io
from pathlib import Path

import numpy
import pytest
from PIL import Image

from trainer import augment
from trainer.augment import Augmentation
from trainer.batches import Epochs, ahead
from trainer.data import Photo
from trainer.images import Preprocessing, Undecodable, decode

SQUASH = Preprocessing(48, None, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
MIDDLE = Preprocessing(48, 56, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def photograph() -> bytes:
    """A slope of colours with a bright spot, so that no two parts and no two directions are alike."""
    down, across = numpy.mgrid[0:120, 0:160]
    pixels = numpy.stack([down * 2, across, 255 - down - across // 2], axis=2).clip(0, 255).astype(numpy.uint8)
    pixels[20:40, 30:60] = 250
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.mark.parametrize("how", [SQUASH, MIDDLE])
@pytest.mark.parametrize("strength", [0.1, 0.3, 1.0])
def test_it_is_the_same_in_whatever_order_and_threads(photograph: bytes, how: Preprocessing, strength: float) -> None:
    augmentation = Augmentation(how, strength, seed=5)
    wanted = [(epoch, index) for epoch in range(3) for index in range(20)]
    one_by_one = {key: augmentation.pixels(photograph, *key) for key in wanted}
    backwards = wanted[::-1]
    threaded = ahead(lambda key: augmentation.pixels(photograph, *key), backwards, 9)
    assert all((pixels == one_by_one[key]).all() for key, pixels in zip(backwards, threaded, strict=True))
    assert {pixels.shape for pixels in one_by_one.values()} == {(48, 48, 3)}
    assert {pixels.dtype for pixels in one_by_one.values()} == {numpy.dtype(numpy.uint8)}


def test_seed_epoch_and_photograph_each_change_it(photograph: bytes) -> None:
    kinds = {
        Augmentation(SQUASH, 0.3, seed).pixels(photograph, epoch, index).tobytes()
        for seed in range(3)
        for epoch in range(3)
        for index in range(3)
    }
    assert len(kinds) == 27


def test_nothing_is_changed_with_strength_0(photograph: bytes) -> None:
    assert (Augmentation(MIDDLE, 0, 1).pixels(photograph, 4, 2) == decode(photograph, MIDDLE)).all()


def test_the_stronger_the_further_away(photograph: bytes) -> None:
    plain = decode(photograph, SQUASH).astype(int)
    away = [
        numpy.mean([abs(Augmentation(SQUASH, strength, 0).pixels(photograph, 0, n) - plain).mean() for n in range(60)])
        for strength in (0.1, 0.4, 1.0)
    ]
    assert away[0] < away[1] < away[2]


@pytest.mark.parametrize("change", augment._CHANGES)
def test_every_operation_gives_a_picture_of_the_same_size(change: augment.Change) -> None:
    from random import Random

    image = Image.fromarray(numpy.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=numpy.uint8))
    for strength in (0.01, 1.0):
        changed = change(image, strength, Random(1))
        assert (changed.size, changed.mode) == (image.size, "RGB")


def test_a_shift_and_a_turn_keep_what_stays_in_the_picture() -> None:
    """The middle of what is sheared or turned does not move; what comes in from outside is grey."""
    from random import Random

    image = Image.new("RGB", (48, 48), "white")
    image.paste("red", (20, 20, 28, 28))
    for change in (augment._shear_x, augment._shear_y, augment._turn):
        assert change(image, 1.0, Random(3)).getpixel((24, 24)) == (255, 0, 0)
    shifted = augment._shift_x(Image.new("RGB", (48, 48), "white"), 1.0, Random(3))
    assert {shifted.getpixel((0, 24)), shifted.getpixel((47, 24))} == {(128, 128, 128), (255, 255, 255)}


def test_what_cannot_be_decoded_is_refused(photograph: bytes) -> None:
    with pytest.raises(Undecodable):
        Augmentation(SQUASH, 0.3, 0).pixels(photograph[:100], 0, 0)


@pytest.mark.parametrize(("count", "size"), [(10, 4), (8, 4), (1, 32), (33, 32)])
def test_an_epoch_has_every_photograph_once_in_batches_of_like_size(count: int, size: int) -> None:
    epochs = Epochs([Photo(Path(str(n)), 0) for n in range(count)], Augmentation(SQUASH, 0.3, 0), size)
    first, again, second = epochs.order(0), epochs.order(0), epochs.order(1)
    assert first == again and (first != second or count == 1)
    assert sorted(number for batch in first for number in batch) == list(range(count))
    lengths = {len(batch) for batch in first}
    assert len(first) == epochs.steps and max(lengths) <= size and max(lengths) - min(lengths) <= 1
