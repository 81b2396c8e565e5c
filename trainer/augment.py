"""The same photograph as it might have been taken: cut otherwise, mirrored, turned, lit differently.

Everything is a function of the seed, the epoch and the photograph's number, so that neither threads nor the order in
which photographs are read, nor an interruption, changes a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy
from PIL import Image, ImageEnhance, ImageOps

from .images import Preprocessing, decode

Pixels = numpy.ndarray[Any, numpy.dtype[numpy.uint8]]
_ROOM = 4 / 3
_OPERATIONS = 2
_SHAPES = (3 / 4, 4 / 3)
_GREY = (128, 128, 128)


@dataclass(frozen=True)
class Augmentation:
    """`strength` 0 (nothing at all) to 1 (the strongest that RandAugment has; 0.3 is its usual 9 of 30)."""

    how: Preprocessing
    strength: float
    seed: int

    def pixels(self, content: bytes, epoch: int, index: int) -> Pixels:
        """(size, size, 3) bytes of the photograph with this number in this epoch. Undecodable as `decode` says it."""
        if self.strength == 0:
            return decode(content, self.how)
        random = Random(f"{self.seed} {epoch} {index}")
        image = self._cut(Image.fromarray(decode(content, roomy(self.how, _ROOM))), random)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for _ in range(_OPERATIONS):
            image = random.choice(_CHANGES)(image, self.strength, random)
        return numpy.asarray(image)

    def _cut(self, image: Image.Image, random: Random) -> Image.Image:
        """A random part of at least 1 - `strength` of the area, as wide for its height as 3:4 to 4:3."""
        edge = image.width
        area = random.uniform(max(1 - self.strength, 0.08), 1.0) * edge * edge
        shape = math.exp(random.uniform(math.log(_SHAPES[0]), math.log(_SHAPES[1])))
        width, height = min(math.sqrt(area * shape), edge), min(math.sqrt(area / shape), edge)
        left, top = random.uniform(0, edge - width), random.uniform(0, edge - height)
        box = (left, top, left + width, top + height)
        return image.resize((self.how.size,) * 2, Image.Resampling.BILINEAR, box=box)


def roomy(how: Preprocessing, room: float) -> Preprocessing:
    """The whole photograph, or the whole middle square of one that is not squashed, `room` times as large."""
    size = round(how.size * room)
    return replace(how, size=size, resize=None if how.resize is None else size)


# RandAugment (Cubuk and others, arXiv:1909.13719) with the operations and ranges of torchvision's.

Change = Callable[[Image.Image, float, Random], Image.Image]


def _signed(most: float, strength: float, random: Random) -> float:
    return most * strength * random.choice((-1, 1))


def _nothing(image: Image.Image, _strength: float, _random: Random) -> Image.Image:
    return image


def _affine(image: Image.Image, matrix: tuple[float, float, float, float, float, float]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=_GREY)


def _shear_x(image: Image.Image, strength: float, random: Random) -> Image.Image:
    slope = _signed(0.3, strength, random)
    return _affine(image, (1, slope, -slope * image.height / 2, 0, 1, 0))


def _shear_y(image: Image.Image, strength: float, random: Random) -> Image.Image:
    slope = _signed(0.3, strength, random)
    return _affine(image, (1, 0, 0, slope, 1, -slope * image.width / 2))


def _shift_x(image: Image.Image, strength: float, random: Random) -> Image.Image:
    return _affine(image, (1, 0, _signed(150 / 331, strength, random) * image.width, 0, 1, 0))


def _shift_y(image: Image.Image, strength: float, random: Random) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, _signed(150 / 331, strength, random) * image.height))


def _turn(image: Image.Image, strength: float, random: Random) -> Image.Image:
    return image.rotate(_signed(30, strength, random), Image.Resampling.BILINEAR, fillcolor=_GREY)


def _enhance(kind: Callable[[Image.Image], Any]) -> Change:
    def change(image: Image.Image, strength: float, random: Random) -> Image.Image:
        changed: Image.Image = kind(image).enhance(1 + _signed(0.9, strength, random))
        return changed

    return change


def _posterize(image: Image.Image, strength: float, _random: Random) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(4 * strength))


def _solarize(image: Image.Image, strength: float, _random: Random) -> Image.Image:
    return ImageOps.solarize(image, round(255 * (1 - strength)))


def _autocontrast(image: Image.Image, _strength: float, _random: Random) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, _strength: float, _random: Random) -> Image.Image:
    return ImageOps.equalize(image)


_CHANGES: tuple[Change, ...] = (
    _nothing, _shear_x, _shear_y, _shift_x, _shift_y, _turn,
    _enhance(ImageEnhance.Brightness), _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Contrast), _enhance(ImageEnhance.Sharpness),
    _posterize, _solarize, _autocontrast, _equalize,
)  # fmt: skip
