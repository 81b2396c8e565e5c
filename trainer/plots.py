"""The lesson's pictures: photographs side by side, and a confusion matrix. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from . import arrays
from .probabilities import Array

_CHARACTERS = 84
"""Of 16 points, side by side in a figure 12 inches wide."""


def plots(
    ims: Sequence[Any] | Array,
    figsize: tuple[float, float] = (12, 6),
    rows: int = 1,
    interp: bool = False,
    titles: Sequence[Any] | Array | None = None,
) -> None:
    """Draw images side by side in `rows` rows: arrays with channels first or last, from 0 to 255, or what matplotlib's
    `imshow` takes. `titles`, one for each, may be labels as arrays."""
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=figsize)
    columns = max(-(-len(ims) // rows), 1)
    words = None if titles is None else [str(title) for title in titles]
    size = min(16.0, 16 * _CHARACTERS / columns / max(map(len, words))) if words and any(words) else 16.0
    for index, image in enumerate(ims):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.axis("off")
        if words is not None:
            axes.set_title(words[index], fontsize=size)
        axes.imshow(_drawable(image), interpolation=None if interp else "none")


def plot_confusion_matrix(
    cm: Array, classes: Sequence[str], normalize: bool = False, title: str = "Confusion matrix", cmap: Any = "Blues"
) -> None:
    """Print and draw photographs by true class (rows) and by what they were taken for (columns)."""
    from matplotlib import pyplot

    shown = cm / cm.sum(axis=1, keepdims=True).clip(1) if normalize else cm
    print(shown)
    figure, axes = pyplot.subplots()
    figure.colorbar(axes.imshow(shown, interpolation="nearest", cmap=cmap))
    axes.set_title(title)
    places = range(len(classes))
    axes.set_xticks(places, classes, rotation=45)
    axes.set_yticks(places, classes)
    for row, column in numpy.ndindex(*shown.shape):
        value = shown[row, column]
        ink = "white" if value > shown.max() / 2 else "black"
        words = f"{value:.2f}" if normalize else f"{value:g}"
        axes.text(column, row, words, ha="center", va="center", color=ink)
    axes.set_ylabel("true class")
    axes.set_xlabel("taken for")
    figure.tight_layout()


def _drawable(image: Any) -> Any:
    if not isinstance(image, numpy.ndarray) or image.ndim != 3:
        return image
    last = arrays.channels_last(image)
    # What matplotlib would read as from 0 to 1.
    scaled = numpy.issubdtype(last.dtype, numpy.floating) and last.max(initial=0) > 1
    return last.clip(0, 255).astype(numpy.uint8) if scaled else last
