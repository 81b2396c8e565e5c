"""Charts as inline SVG: no script, colours from the page's style, every point with its figures as a tooltip."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .markup import text

WIDTH, HEIGHT = 460, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 24, 42
_DOTS = 40
"""More points than these are a line alone."""
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line; `kind` (a, b) is its colour in the style."""

    name: str
    kind: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Axis:
    """What one direction means. `low` and `high` widen it beyond its points; `words` says a tick."""

    label: str
    low: float = math.inf
    high: float = -math.inf
    log: bool = False
    words: Callable[[float], str] = "{:g}".format

    def over(self, values: Sequence[float]) -> Axis:
        """The same, wide enough for `values`."""
        low, high = min([self.low, *values]), max([self.high, *values])
        if low == high:
            low, high = (low / 2, high * 2) if self.log else (low - 0.5, high + 0.5)
        return Axis(self.label, low, high, self.log, self.words)

    def rounded(self) -> Axis:
        """The same, from a tick to a tick."""
        step = _round_step((self.high - self.low) / 5)
        low, high = math.floor(self.low / step + 1e-9) * step, math.ceil(self.high / step - 1e-9) * step
        return Axis(self.label, low, high, self.log, self.words)

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high, value = (math.log(v) for v in (self.low, self.high, value)) if self.log else (*self.ends, value)
        return (value - low) / (high - low)

    @property
    def ends(self) -> tuple[float, float]:
        return self.low, self.high

    def ticks(self) -> list[float]:
        """About five round values inside."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = (1, 3) if last - first <= 4 else (1,)
            values = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        else:
            step = _round_step((self.high - self.low) / 5)
            values = [round(step * k, 10) for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [value for value in values if -1e-9 <= self.place(value) <= 1 + 1e-9]


def lines(title: str, series: Sequence[Series], x: Axis, y: Axis, mark: tuple[float, str] | None = None) -> str:
    """Lines over `x`; `mark` is an upright line at a value of x, with its name."""
    x = x.over([point[0] for line in series for point in line.points])
    y = y.over([point[1] for line in series for point in line.points]).rounded()
    drawn = [_frame(x, y)]
    if mark:
        at = _x(x, mark[0])
        side = ' text-anchor="end"' if at > WIDTH * 0.6 else ""
        drawn.append(f'<path class="mark" d="M{at:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>')
        drawn.append(
            f'<text class="tick" x="{at + (3 if side else -3):.1f}" y="{_TOP - 8}"{side}>{text(mark[1])}</text>'
        )
    drawn += [_line(line, x, y) for line in series]
    legend = "".join(f'<span class="key {line.kind}">{text(line.name)}</span>' for line in series)
    return _figure(title, "".join(drawn), HEIGHT, legend if len(series) > 1 else "")


def reliable(title: str, bins: Sequence[tuple[float, float, tuple[float, float], int]], x: Axis, y: Axis) -> str:
    """(said, came true, its interval, photographs) against the diagonal, with the counts as bars below."""
    total, floor, room = max(count for *_, count in bins), HEIGHT + 34, 44
    drawn = [_frame(x, y), f'<path class="mark" d="M{_x(x, 0):.1f} {_y(y, 0):.1f}L{_x(x, 1):.1f} {_y(y, 1):.1f}"/>']
    for said, true, (low, high), count in bins:
        at, bar = _x(x, said), max(1.5, room * count / total)
        hint = f"said {said:.1%}, came true {true:.1%} of {count:,} (95 %: {low:.1%} to {high:.1%})"
        drawn.append(f'<path class="whisker" d="M{at:.1f} {_y(y, low):.1f}V{_y(y, high):.1f}"/>')
        place = f'cx="{at:.1f}" cy="{_y(y, true):.1f}" r="{3 + 4 * math.sqrt(count / total):.1f}"'
        drawn.append(f'<circle class="dot a" {place}><title>{hint}</title></circle>')
        drawn.append(f'<rect class="bar" x="{at - 6:.1f}" y="{floor + room - bar:.1f}" width="12" height="{bar:.1f}"/>')
        drawn.append(f'<text class="tick" text-anchor="middle" x="{at:.1f}" y="{floor + room + 14}">{count:,}</text>')
    drawn.append(f'<text class="tick" x="{_LEFT}" y="{floor - 4}">photographs</text>')
    return _figure(title, "".join(drawn), floor + room + 20, "")


def whisker(value: float, interval: tuple[float, float], floor: float) -> str:
    """A share with its interval on a line from `floor` to 1, small enough for the cell of a table."""
    low, at, high = (max(0.0, (v - floor) / (1 - floor)) * 96 + 2 for v in (interval[0], value, interval[1]))
    return (
        '<svg class="whiskers" viewBox="0 0 100 12" aria-hidden="true"><path class="grid" d="M2 6H98"/>'
        f'<path class="range" d="M{low:.1f} 6H{high:.1f}"/><circle class="dot a" cx="{at:.1f}" cy="6" r="3.2"/></svg>'
    )


def bar(part: float, kind: str = "bar") -> str:
    """A bar of `part` (0 to 1) of its cell."""
    return (
        '<svg class="bars" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="grid" width="100" height="8"/>'
        f'<rect class="{kind}" width="{max(part * 100, 0.7):.1f}" height="8"/></svg>'
    )


def _figure(title: str, drawn: str, height: int, legend: str) -> str:
    return (
        f'<figure class="chart"><figcaption>{text(title)}<span class="legend">{legend}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{text(title)}">{drawn}</svg></figure>'
    )


def _frame(x: Axis, y: Axis) -> str:
    bottom = HEIGHT - _BOTTOM
    drawn = []
    for value in y.ticks():
        at = _y(y, value)
        drawn.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>')
        drawn.append(
            f'<text class="tick" text-anchor="end" x="{_LEFT - 8}" y="{at + 4:.1f}">{text(y.words(value))}</text>'
        )
    for value in x.ticks():
        at = _x(x, value)
        drawn.append(f'<path class="grid" d="M{at:.1f} {bottom}v5"/>')
        drawn.append(
            f'<text class="tick" text-anchor="middle" x="{at:.1f}" y="{bottom + 18}">{text(x.words(value))}</text>'
        )
    drawn.append(f'<path class="axis" d="M{_LEFT} {bottom}H{WIDTH - _RIGHT}"/>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    drawn.append(f'<text class="label" text-anchor="middle" x="{middle:.0f}" y="{HEIGHT - 5}">{text(x.label)}</text>')
    return "".join(drawn)


def _line(line: Series, x: Axis, y: Axis) -> str:
    places = [(_x(x, px), _y(y, py)) for px, py in line.points]
    path = "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
    drawn = [f'<path class="line {line.kind}" d="M{path}"/>']
    if len(places) <= _DOTS:
        for (px, py), (value, height) in zip(places, line.points, strict=True):
            hint = f"{text(line.name)}: {height:.4g} at {value:g}"
            drawn.append(
                f'<circle class="dot {line.kind}" cx="{px:.1f}" cy="{py:.1f}" r="3.5"><title>{hint}</title></circle>'
            )
    return "".join(drawn)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.place(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.place(value) * (HEIGHT - _TOP - _BOTTOM)


def _round_step(step: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= step * (1 - 1e-9))
