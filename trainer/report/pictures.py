"""The plots as PNG files, drawn with Pillow: importing a plotting library would take longer than many a training."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..plain import printable
from .charts import Axis
from .facts import Array, Facts
from .performance import MATRIX

_SCALE = 2
_WIDTH, _HEIGHT = 640, 420
_INK, _SOFT, _GRID, _A, _B = "#1b2330", "#5a6474", "#e3e1da", "#2563c9", "#c2570c"
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 56, 60
Point = tuple[float, float]


def plots(facts: Facts) -> tuple[bytes, bytes]:
    """The loss curve and the confusion matrix."""
    return loss(facts.history), confusion(facts.classes, facts.valid.confusion)


def loss(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Training and validation loss over the weight decays that were tried, or over epochs."""
    entries = [entry for entry in history if "weight_decay" in entry] or history
    log = any("weight_decay" in entry for entry in entries)
    key = "weight_decay" if log else "epoch"
    lines = [
        (name, colour, [(float(entry[key]), float(entry[column])) for entry in entries if column in entry])
        for name, colour, column in (("training", _A, "loss"), ("validation", _B, "val_loss"))
    ]
    return curves("Log loss", lines, Axis("weight decay" if log else "epoch", log=log), Axis("", low=0))


def curves(title: str, lines: Sequence[tuple[str, str, Sequence[Point]]], x: Axis, y: Axis) -> bytes:
    """Lines (name, colour, points) with their axes and a legend, as PNG."""
    x = x.over([point[0] for _, _, points in lines for point in points])
    y = y.over([point[1] for _, _, points in lines for point in points]).rounded()
    canvas = _Canvas(_WIDTH, _HEIGHT)
    canvas.text((_LEFT, 22), title, 17, _INK)
    _axes(canvas, x, y)
    right = float(_WIDTH - _RIGHT)
    for name, colour, points in reversed(lines):
        places = [(_x(x, px), _y(y, py)) for px, py in points]
        canvas.line(places, colour, 2.4)
        for place in places if len(places) <= 40 else []:
            canvas.dot(place, colour, 4)
        canvas.text((right, 25), name, 14, colour, anchor="ra")
        right -= canvas.length(name, 14) + 18
    return canvas.png()


def confusion(classes: Sequence[str], counts: Array) -> bytes:
    """Rows are true classes. Figures and names where there is room for them; beyond 20 classes the colours alone."""
    named = len(classes) <= MATRIX
    side = max(26, min(110, 520 // len(classes))) if named else max(2, 640 // len(classes))
    canvas = _Canvas(1, 1)
    names = [_drawable(name) if named else "" for name in classes]
    edge = max([canvas.length(name, 14) for name in names]) + 28 if named else 30
    width, height = int(edge + side * len(classes) + 30), int(70 + side * len(classes) + 30)
    canvas = _Canvas(max(width, 240), height)
    canvas.text((edge, 14), "taken for", 14, _SOFT)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    for true, row in enumerate(shares):
        top = 70 + side * true
        canvas.text((edge - 12, top + side / 2), names[true], 14, _INK, anchor="rm")
        canvas.text((edge + side * (true + 0.5), 62), _short(canvas, names[true], side), 14, _INK, anchor="ms")
        for taken, part in enumerate(row):
            left = edge + side * taken
            # Mistakes are few: the root makes them seen.
            strength = float(part if taken == true else part**0.5)
            gap = 1 if named else 0
            canvas.box((left, top, left + side - gap, top + side - gap), _shade(_A if taken == true else _B, strength))
            if named and counts[true, taken]:
                ink = "white" if strength > 0.55 else _INK
                canvas.text((left + side / 2, top + side / 2), str(counts[true, taken]), 15, ink, anchor="mm")
    return canvas.png()


class _Canvas:
    """A white picture in logical pixels. Lines are drawn larger and made small: that is what smooths them."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width * _SCALE * 2, height * _SCALE * 2), "white")
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Sequence[Point], colour: str, width: float) -> None:
        self._draw.line([self._at(p) for p in points], colour, round(width * _SCALE * 2), joint="curve")

    def dot(self, at: Point, colour: str, radius: float) -> None:
        x, y = at
        self._draw.ellipse([*self._at((x - radius, y - radius)), *self._at((x + radius, y + radius))], colour)

    def box(self, corners: tuple[float, float, float, float], colour: tuple[int, ...]) -> None:
        self._draw.rectangle([round(value * _SCALE * 2) for value in corners], colour)

    def text(self, at: Point, words: str, size: int, colour: str, anchor: str = "la") -> None:
        self._draw.text(self._at(at), words, colour, _font(size), anchor)

    def length(self, words: str, size: int) -> float:
        return self._draw.textlength(words, _font(size)) / (_SCALE * 2)

    def png(self) -> bytes:
        file = io.BytesIO()
        self._image.reduce(2).save(file, "PNG")
        return file.getvalue()

    def _at(self, point: Point) -> Point:
        return round(point[0] * _SCALE * 2), round(point[1] * _SCALE * 2)


def _axes(canvas: _Canvas, x: Axis, y: Axis) -> None:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value in y.ticks():
        at = _y(y, value)
        canvas.line([(_LEFT, at), (right, at)], _GRID, 1)
        canvas.text((_LEFT - 10, at), f"{value:g}", 13, _SOFT, anchor="rm")
    for value in x.ticks():
        at = _x(x, value)
        canvas.line([(at, bottom), (at, bottom + 5)], _SOFT, 1)
        canvas.text((at, bottom + 10), f"{value:g}", 13, _SOFT, anchor="ma")
    canvas.line([(_LEFT, bottom), (right, bottom)], _SOFT, 1)
    canvas.text(((_LEFT + right) / 2, _HEIGHT - 24), x.label, 14, _INK, anchor="ma")


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.place(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.place(value) * (_HEIGHT - _TOP - _BOTTOM)


def _font(size: int) -> Any:
    return ImageFont.load_default(size * _SCALE * 2)


def _shade(colour: str, strength: float) -> tuple[int, ...]:
    """The colour laid over white: 0 is a light grey, 1 the colour itself."""
    if not strength:
        return 245, 244, 240
    strength = 0.12 + 0.88 * strength
    return tuple(round(255 + (int(colour[i : i + 2], 16) - 255) * strength) for i in (1, 3, 5))


def _drawable(name: str) -> str:
    """Pillow's own font has Latin letters only; the rest is spelled out, so that two names never look the same."""
    return printable(name).encode("latin-1", "backslashreplace").decode("latin-1")[:40]


def _short(canvas: _Canvas, name: str, room: float) -> str:
    while name and canvas.length(name, 14) > room - 4:
        name = name[:-1]
    return name
