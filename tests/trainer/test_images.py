from __future__ import annotations

import io

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainer.images import Preprocessing, Undecodable, decode

SQUASH = Preprocessing(32, None, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
MIDDLE = Preprocessing(32, 40, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("how", [SQUASH, MIDDLE])
@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "JPEG"), ("CMYK", "JPEG"), ("L", "PNG"), ("LA", "PNG"), ("P", "GIF")]
)
def test_every_mode_becomes_rgb(how: Preprocessing, mode: str, kind: str) -> None:
    assert decode(encoded(Image.new(mode, (100, 50)), kind), how).shape == (32, 32, 3)


def test_sixteen_bits_keep_their_greys() -> None:
    grey = Image.fromarray(numpy.full((40, 40), 0x8000, dtype=numpy.uint16))
    assert abs(int(decode(encoded(grey, "PNG"), SQUASH).mean()) - 128) <= 1


def test_transparent_is_white() -> None:
    assert decode(encoded(Image.new("RGBA", (40, 40), (255, 0, 0, 0)), "PNG"), SQUASH).min() == 255


def test_a_photograph_held_sideways_is_turned() -> None:
    image = Image.new("RGB", (64, 64), "black")
    image.paste("white", (0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decode(encoded(image, "JPEG", exif=exif, quality=95), SQUASH)
    assert pixels[:, 20:].mean() > 200 and pixels[:, :12].mean() < 60


def test_a_large_jpeg_keeps_its_colours() -> None:
    pixels = decode(encoded(Image.new("RGB", (2000, 1500), (200, 60, 40)), "JPEG"), SQUASH)
    assert numpy.abs(pixels.astype(int) - [200, 60, 40]).max() <= 4


@given(st.integers(0, 700))
def test_a_cut_photograph_is_refused(length: int) -> None:
    noise = numpy.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=numpy.uint8)
    with pytest.raises(Undecodable):
        decode(encoded(Image.fromarray(noise), "JPEG")[:length], SQUASH)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(content: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(content, SQUASH)
