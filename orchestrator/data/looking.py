"""One look at a file, which tells all that a check asks: whether it decodes, its hash, its size and a sketch of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from trainer.run_folder import IMAGE_FORMATS

from ..reporter import Reporter
from . import decoding
from .likeness import Sketch, sketch
from .photos import Photo


@dataclass(frozen=True)
class Look:
    """`digest`: SHA-256, empty when the file cannot be read. `size`: width and height, as far as they are known."""

    digest: bytes = b""
    size: tuple[int, int] | None = None
    format: str = ""
    problem: str | None = None
    sketch: Sketch | None = None


def look_at_all(photos: Sequence[Photo], reporter: Reporter) -> list[Look]:
    """A look at each, in their order, on all processors."""
    looks: list[Look] = []
    with reporter.progress("looking", len(photos), "images") as bar, decoding.strictly():
        for look in decoding.at_once(look_at, [photo.path for photo in photos]):
            looks.append(look)
            bar.update(len(looks))
    return looks


def look_at(file: Path) -> Look:
    try:
        content = file.read_bytes()
    except OSError as error:
        return Look(problem=f"cannot be read: {error.strerror}")
    digest = hashlib.sha256(content).digest()
    size, kind = None, ""
    try:
        with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as picture:
            size, kind = picture.size, picture.format or ""
            decoding.cheaply(picture)
            picture.load()
            made = sketch(decoding.upright(picture).convert("L"))
    except decoding.DAMAGE as error:
        return Look(digest, size, kind, decoding.reason(error, file))
    return Look(digest, size, kind, None, made)
