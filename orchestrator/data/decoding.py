"""Opening a file that may be no image at all: whatever a decoder does with hostile bytes becomes one sentence."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageOps, UnidentifiedImageError

from trainer.run_folder import IMAGE_FORMATS

T = TypeVar("T")

DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, ArithmeticError, MemoryError),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning, RuntimeError, AttributeError, struct.error),
)
"""All that Pillow's decoders are known to raise."""


@contextmanager
def strictly() -> Iterator[None]:
    """An image that would fill the memory is refused in this block instead of warned of; other warnings about broken
    metadata are no news to anybody. For the whole process: not inside the threads of `at_once`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def at_once(look: Callable[[Path], T], files: Iterable[Path]) -> Iterator[T]:
    """What `look` finds in each file, in their order; decoders leave Python's lock, so all processors are used."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            yield from pool.map(look, files)
        finally:
            # Ctrl-C must not wait for tens of thousands of files.
            pool.shutdown(cancel_futures=True)


def reason(error: BaseException, file: Path) -> str:
    """Why, in a few words, without the path that is named beside it."""
    if isinstance(error, UnidentifiedImageError):
        return "it is in no format that is known here"
    return str(error).replace(str(file), "it").replace("\n", " ")[:200] or type(error).__name__


def problem(file: Path) -> str | None:
    """Why the whole image does not decode; None for a sound one."""
    try:
        with Image.open(file, formats=IMAGE_FORMATS) as picture:
            cheaply(picture)
            picture.load()
    except DAMAGE as error:
        return reason(error, file)
    return None


def cheaply(picture: Image.Image, side: int = 64, mode: str = "L") -> None:
    """Make fewer pixels of a JPEG, no less than `side`: its decoder reads every byte all the same, and meets every
    damage, in a third of the time."""
    picture.draft(mode, (side, side))


def upright(picture: Image.Image) -> Image.Image:
    """As the camera says that it was held."""
    try:
        return ImageOps.exif_transpose(picture)
    except DAMAGE:
        # Broken metadata around sound pixels.
        return picture
