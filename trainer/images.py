"""From the bytes of a photograph to the pixels that a network takes."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy
from PIL import Image, ImageOps

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
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, MemoryError,
    ZeroDivisionError, AttributeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip


def decode(content: bytes, how: Preprocessing) -> numpy.ndarray[Any, numpy.dtype[numpy.uint8]]:
    """Pixels of shape (size, size, 3), bytes. Undecodable when the file is damaged, cut short or a bomb."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            # A JPEG can be decoded at 1/2, 1/4 or 1/8 for much less; twice the wanted size keeps the sharpness.
            wanted = 2 * (how.resize or how.size)
            image.draft("RGB", (wanted, wanted))
            return numpy.asarray(_fit(_rgb(ImageOps.exif_transpose(image)), how))
    except _DAMAGE as error:
        raise Undecodable(str(error) or type(error).__name__) from error


def _rgb(image: Image.Image) -> Image.Image:
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
    values = numpy.asarray(image, dtype=numpy.float64)
    top = 255.0 if values.max() <= 255 else 65535.0
    return Image.fromarray((values.clip(0, top) * (255.0 / top)).round().astype(numpy.uint8))


def _fit(image: Image.Image, how: Preprocessing) -> Image.Image:
    flavour = _FILTERS[how.interpolation]
    if how.resize is None:
        return image.resize((how.size, how.size), Image.Resampling(flavour))
    # The middle square (size/resize of the shorter side) in one step, without a long intermediate of a panorama.
    side = min(image.size) * how.size / how.resize
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((how.size, how.size), Image.Resampling(flavour), box=box)
