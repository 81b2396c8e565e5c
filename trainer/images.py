"""From the bytes of a photograph to the pixels that a network takes."""

from __future__ import annotations

import io
import math
import struct
import warnings
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy
from PIL import Image, ImageOps, UnidentifiedImageError

from . import run_folder

# Broken metadata around sound pixels is no news to anybody; once for the process, for filters are not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Undecodable(Exception):
    """These bytes are no photograph; the message says why."""


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes a network's input: `size` pixels square, then (value / 255 - mean) / std.

    `resize` is the length that the shorter side gets before the middle is cut out; None squashes the whole
    photograph into the square, whatever its shape.
    """

    size: int
    resize: int | None
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Preprocessing:
        """The inverse of `document`; TypeError or KeyError when it is not one."""
        return cls(**{**document, "mean": tuple(document["mean"]), "std": tuple(document["std"])})


_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
# All that Pillow's decoders are known to raise on hostile bytes.
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, MemoryError,
    ZeroDivisionError, AttributeError, RuntimeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip


class Cut:
    """A random part of a photograph, perhaps mirrored: the same one for the same `seed`."""

    _AREA, _SHAPE = (0.5, 1.0), (3 / 4, 4 / 3)

    def __init__(self, seed: str) -> None:
        random = Random(seed)
        self._area = random.uniform(*self._AREA)
        self._shape = math.exp(random.uniform(*(math.log(edge) for edge in self._SHAPE)))
        self._place = random.random(), random.random()
        self.mirrored = random.random() < 0.5

    def box(self, size: tuple[float, float]) -> tuple[float, float, float, float]:
        """Left, top, right and bottom within a photograph of `size`."""
        width = size[0] * min(math.sqrt(self._area * self._shape), 1.0)
        height = size[1] * min(math.sqrt(self._area / self._shape), 1.0)
        left, top = self._place[0] * (size[0] - width), self._place[1] * (size[1] - height)
        return left, top, left + width, top + height


def decode(content: bytes, how: Preprocessing, cut: Cut | None = None) -> numpy.ndarray[Any, numpy.dtype[numpy.uint8]]:
    """Pixels of shape (size, size, 3), bytes. Undecodable when the file is damaged, cut short or a bomb.

    `cut`: of that part of what the network would otherwise see.
    """
    if not content:
        raise Undecodable("it is empty")
    try:
        with Image.open(io.BytesIO(content), formats=run_folder.IMAGE_FORMATS) as image:
            # A JPEG can be decoded at 1/2, 1/4 or 1/8 for much less; twice the wanted size keeps the sharpness.
            wanted = 2 * (how.resize or how.size)
            image.draft("RGB", (wanted, wanted))
            # In place: a copy of every photograph is a tenth of the time that decoding takes.
            ImageOps.exif_transpose(image, in_place=True)
            fitted = _fit(_rgb(image), how, cut)
            if cut is not None and cut.mirrored:
                fitted = fitted.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            return numpy.asarray(fitted)
    except UnidentifiedImageError as error:
        raise Undecodable("it is of no image format that is known") from error
    except DAMAGE as error:
        raise Undecodable(str(error) or type(error).__name__) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _eight_bits(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "La", "RGBa", "PA") or "transparency" in image.info:
        # What lies under full transparency is arbitrary: show it as a viewer does, on white.
        alpha = image.convert("RGBA")
        white = Image.new("RGBA", alpha.size, "white")
        return Image.alpha_composite(white, alpha).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow's own conversion of 16-bit grey clips at 255: nearly every pixel would be white."""
    values = numpy.nan_to_num(numpy.asarray(image, dtype=numpy.float64))
    top = 255.0 if values.max() <= 255 else 65535.0
    return Image.fromarray((values.clip(0, top) * (255.0 / top)).round().astype(numpy.uint8))


def _fit(image: Image.Image, how: Preprocessing, cut: Cut | None) -> Image.Image:
    """The square that the network takes, in one step: without a long intermediate of a panorama."""
    left, top, right, bottom = 0.0, 0.0, float(image.width), float(image.height)
    if how.resize is not None:
        # The middle square, size/resize of the shorter side.
        side = min(image.size) * how.size / how.resize
        left, top = (image.width - side) / 2, (image.height - side) / 2
        right, bottom = left + side, top + side
    if cut is not None:
        part = cut.box((right - left, bottom - top))
        # Rounding must not carry it over the edge.
        right, bottom = min(left + part[2], image.width), min(top + part[3], image.height)
        left, top = left + part[0], top + part[1]
    flavour = Image.Resampling(_FILTERS[how.interpolation])
    return image.resize((how.size, how.size), flavour, box=(left, top, right, bottom))
