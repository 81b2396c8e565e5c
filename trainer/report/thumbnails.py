"""Photographs as small JPEGs inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps

from .. import run_folder
from ..images import DAMAGE

SIDE = 220
_QUALITY = 72


def read(paths: Iterable[Path]) -> Mapping[Path, str]:
    """The source of an `<img>` for each path that can be read; its longer side has at most 220 pixels."""
    wanted = sorted(set(paths))
    with ThreadPoolExecutor() as pool:
        return {path: source for path, source in zip(wanted, pool.map(_one, wanted), strict=True) if source}


def _one(path: Path) -> str:
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=run_folder.IMAGE_FORMATS) as image:
            image.draft("RGB", (SIDE, SIDE))
            small = _on_white(ImageOps.exif_transpose(image))
        small.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
        content = io.BytesIO()
        small.save(content, "JPEG", quality=_QUALITY)
    except DAMAGE:
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    if image.mode.startswith("I"):
        # 16-bit grey, which Pillow's own conversion would clip to white.
        return image.point(lambda value: value / 257).convert("RGB")
    return image.convert("RGB")
