"""Photographs as arrays, which a notebook has in hand, made the pixels that a network takes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy
from PIL import Image

from .errors import UsageError
from .images import Preprocessing, decode
from .probabilities import Array
from .reading import Pixels

_FORM = "Give RGB from 0 to 255, as (n, 3, height, width) or (n, height, width, 3)"


def pixels(images: Array | Sequence[Array], how: Preprocessing) -> Pixels:
    """(n, size, size, 3) bytes of RGB images from 0 to 255, (3, height, width) or (height, width, 3) each.

    Those of another size are fitted as a file would be. UsageError when they have another form or range.
    """
    several = [images] if isinstance(images, numpy.ndarray) and images.ndim == 3 else images
    found = [_fitted(_bytes(numpy.asarray(image)), how) for image in several]
    return numpy.stack(found) if found else numpy.zeros((0, how.size, how.size, 3), dtype=numpy.uint8)


def channels_last(image: Array) -> Array:
    """(height, width, 3) of an image that may have its channels first."""
    return image if image.shape[-1] == 3 else image.transpose(1, 2, 0)


def _bytes(image: Array) -> Pixels:
    if image.ndim != 3 or 3 not in (image.shape[0], image.shape[-1]) or 0 in image.shape:
        raise UsageError(f"an array of the shape {image.shape} is no image", _FORM)
    if image.dtype == numpy.uint8:
        return channels_last(image)
    if not (numpy.issubdtype(image.dtype, numpy.number) and numpy.isfinite(image).all()):
        raise UsageError("an image has values that are no numbers", _FORM)
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 255:
        raise UsageError(f"the values of an image go from {low:g} to {high:g}", _FORM)
    if 0 < high <= 1 and not numpy.issubdtype(image.dtype, numpy.integer):
        raise UsageError("the values of an image go from 0 to 1", f"{_FORM}: multiply by 255")
    return numpy.rint(channels_last(image)).astype(numpy.uint8)


def _fitted(image: Pixels, how: Preprocessing) -> Pixels:
    if image.shape[:2] == (how.size, how.size):
        return numpy.ascontiguousarray(image)
    # The way of a file, without loss, so that both are fitted alike.
    file = io.BytesIO()
    Image.fromarray(numpy.ascontiguousarray(image)).save(file, "PNG", compress_level=0)
    return decode(file.getvalue(), how)
