"""One photograph looked at several times, with the mean of the answers (test-time augmentation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch

from .augment import Pixels, roomy
from .batches import ahead
from .forward import Forward
from .images import Preprocessing, Undecodable, decode

Matrix = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
MOST = 10
_ROOM = 8 / 7


@dataclass
class Logits:
    """(n, classes), one row for each path in their order; the rows of `broken` (index: why) are zero."""

    rows: Matrix
    broken: dict[int, str] = field(default_factory=dict)


def logits(forward: Forward, paths: Sequence[Path], views: int, batch: int) -> Logits:
    """The mean logits over the first `views` of ten: as it is and its four corners, each before its mirror image.

    1 is the photograph alone, 2 (what the frozen features are the mean of) with its mirror image.
    """
    classes = forward.answers(torch.zeros(1, forward.how.size, forward.how.size, 3, dtype=torch.uint8)).shape[1]
    found = Logits(numpy.zeros((len(paths), classes)))
    waiting: list[tuple[int, Pixels]] = []
    for index, seen in enumerate(ahead(lambda path: _look(path, forward.how, views), paths, 3 * batch)):
        if isinstance(seen, str):
            found.broken[index] = seen
        else:
            waiting.append((index, seen))
        if len(waiting) == batch or (waiting and index + 1 == len(paths)):
            numbers = [number for number, _ in waiting]
            found.rows[numbers] = _mean(forward, numpy.stack([pixels for _, pixels in waiting]))
            waiting.clear()
    return found


def _mean(forward: Forward, pixels: Pixels) -> Matrix:
    """Of (n, views, size, size, 3): a view at a time, as large a batch as the network was asked for."""
    each = [forward.answers(torch.from_numpy(pixels[:, view])) for view in range(pixels.shape[1])]
    return torch.stack(each).mean(0).numpy()


def _look(path: Path, how: Preprocessing, views: int) -> Pixels | str:
    """(views, size, size, 3), or why there are none."""
    try:
        content = path.read_bytes()
        seen = [decode(content, how)]
        if views > 2:
            large = decode(content, roomy(how, _ROOM))
            ends = slice(0, how.size), slice(large.shape[0] - how.size, None)
            seen += [large[down, across] for down in ends for across in ends]
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    except Undecodable as error:
        return str(error)
    return numpy.stack([look for one in seen for look in (one, one[:, ::-1])][:views])
