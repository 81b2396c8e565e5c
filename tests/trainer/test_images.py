from __future__ import annotations

import io
import zlib

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainer.images import Cut, Preprocessing, Undecodable, decode

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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_righted(orientation: int) -> None:
    """As held, the photograph is white in its upper left quarter."""
    upright = Image.new("RGB", (64, 64), "black")
    upright.paste("white", (0, 0, 32, 32))
    turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    image = upright.transpose(Image.Transpose(turned[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(image, "JPEG", exif=exif, quality=95), SQUASH)
    assert pixels[2:14, 2:14].mean() > 200
    assert pixels[18:].mean() < 60 and pixels[:, 18:].mean() < 60


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [("CMYK", (0, 255, 255, 0), (255, 0, 0)), ("L", 90, (90,) * 3), ("LA", (90, 0), (255,) * 3),
     ("RGBA", (255, 0, 0, 128), (255, 127, 127)), ("1", 1, (255,) * 3)],
)  # fmt: skip
def test_every_mode_keeps_its_colour(mode: str, colour: object, seen: tuple[int, int, int]) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    pixels = decode(encoded(Image.new(mode, (40, 40), colour), kind), SQUASH)  # type: ignore[arg-type]
    assert numpy.abs(pixels.reshape(-1, 3).astype(int) - seen).max() <= 2


@pytest.mark.parametrize(
    ("values", "seen"),
    [(numpy.full((9, 9), 40_000, numpy.int32), 156), (numpy.full((9, 9), 0.0, numpy.float32), 0),
     (numpy.full((9, 9), 200.0, numpy.float32), 200), (numpy.full((9, 9), numpy.nan, numpy.float32), 0)],
)  # fmt: skip
def test_deep_greys_become_bytes(values: numpy.ndarray, seen: int) -> None:  # type: ignore[type-arg]
    pixels = decode(encoded(Image.fromarray(values), "TIFF"), SQUASH)
    assert numpy.abs(pixels.astype(int) - seen).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_a_bomb_is_not_opened(kind: str) -> None:
    """A small file that says it has 200 million pixels or more."""
    content = bytearray(encoded(Image.new("L", (4, 4)), kind))
    if kind == "PNG":
        content[16:24] = (60_000).to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    elif kind == "GIF":
        content[6:10] = (60_000).to_bytes(2, "little") * 2
    else:
        content[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(Undecodable, match="pixels"):
        decode(bytes(content), SQUASH)


def test_what_is_wrong_is_said_without_addresses() -> None:
    for content, words in (
        (b"", "it is empty"),
        (b"GIF, they said", "no image format"),
        (b"\0" * 100, "no image format"),
        # Decoders that nobody asks for, one of which would start another program.
        (b"DDS |" + b"\0" * 400, "no image format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image format"),
    ):
        with pytest.raises(Undecodable, match=words):
            decode(content, SQUASH)


@given(st.integers(), st.integers(20, 300), st.integers(20, 300))
def test_a_cut_lies_within_and_is_always_the_same(seed: int, width: int, height: int) -> None:
    box = Cut(str(seed)).box((width, height))
    assert box == Cut(str(seed)).box((width, height))
    left, top, right, bottom = box
    assert 0 <= left < right <= width + 1e-6 and 0 <= top < bottom <= height + 1e-6
    assert 0.4 <= (right - left) * (bottom - top) / (width * height) <= 1 + 1e-9
    for how in (SQUASH, MIDDLE):
        content = encoded(Image.new("RGB", (width, height)), "BMP")
        assert decode(content, how, Cut(str(seed))).shape == (32, 32, 3)


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
