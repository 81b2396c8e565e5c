"""Small pictures for a page: upright, of any mode, and never an error."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from trainer.run_folder import IMAGE_FORMATS

from . import decoding

SIDE = 160
_QUALITY = 80
_PAPER = (238, 238, 238)


@dataclass(frozen=True)
class Thumbnail:
    """`uri` is a JPEG as a data: URL, `size` that of the whole picture as it is looked at; or there is a `problem`."""

    uri: str = ""
    size: tuple[int, int] = (0, 0)
    problem: str = ""


def thumbnail(file: Path) -> Thumbnail:
    try:
        with Image.open(file, formats=IMAGE_FORMATS) as picture:
            size = picture.size
            decoding.cheaply(picture, SIDE * 2, "RGB")
            picture.load()
            small = decoding.upright(picture)
            turned = (small.width > small.height) != (picture.width > picture.height)
            small = _opaque(small)
            small.thumbnail((SIDE, SIDE))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=_QUALITY)
    except decoding.DAMAGE as error:
        return Thumbnail(problem=decoding.reason(error, file))
    uri = "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
    return Thumbnail(uri, size[::-1] if turned else size)


def _opaque(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        return _spread(picture)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    whole = picture.convert("RGBA")
    paper = Image.new("RGBA", whole.size, (*_PAPER, 255))
    return Image.alpha_composite(paper, whole).convert("RGB")


def _spread(picture: Image.Image) -> Image.Image:
    """Pixels of more than eight bits, from the darkest to the lightest: Pillow alone would show them as white."""
    wide = picture if picture.mode == "F" else picture.convert("I").convert("F")
    low, high = map(float, wide.getextrema())  # type: ignore[arg-type]
    scale = 255 / (high - low) if high > low else 0
    start = -low * scale if scale else 128
    return wide.point(lambda value: value * scale + start).convert("L").convert("RGB")
