"""Photographs of a folder, batch after batch without end: what Keras's `flow_from_directory` gave the lesson."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

import numpy

from . import data, run_folder
from .batches import ahead
from .data import Photo
from .errors import TrainerError, UsageError
from .images import Preprocessing, Undecodable, decode
from .probabilities import Array
from .reading import Pixels

ClassMode = Literal["categorical", "binary", "sparse"] | None
"""Labels are one-hot rows, or 0 and 1, or numbers; or there are none."""
_MODES = ("categorical", "binary", "sparse", None)
_PARTS = (run_folder.TRAIN, run_folder.VALID, run_folder.TEST)
_TAILS = (*(f"{run_folder.SAMPLE}/{part}" for part in _PARTS), *_PARTS, run_folder.SAMPLE)


class Flow:
    """`next(flow)` is (images, labels), or the images alone where `class_mode` is None.

    Images are (n, 3, size, size) float32, RGB from 0 to 255, n at most `batch_size`; labels (n, classes) float32 with
    a 1 where the class is, in alphabetical order of the class folders: [0, 1] is a dog. Photographs are read when
    their batch is asked for. Every epoch has each of them once, its last batch being what is left; with `shuffle`
    their order is a function of `seed` and the epoch. One that cannot be read is named to `say` and left out.
    """

    def __init__(
        self,
        directory: Path,
        how: Preprocessing,
        *,
        batch_size: int = 8,
        shuffle: bool = True,
        class_mode: ClassMode = "categorical",
        seed: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        """TrainerError says what was expected where the folder is missing, or has no photographs."""
        if batch_size < 1:
            raise UsageError(f"a batch of {batch_size} photographs was asked for", "Give batch_size=1 or more")
        if class_mode not in _MODES:
            raise UsageError(
                f"there is no class_mode {class_mode!r}", 'There are "categorical", "binary", "sparse", None'
            )
        self.directory, self.batch_size, self.shuffle, self.class_mode = directory, batch_size, shuffle, class_mode
        self.target_size = (how.size, how.size)
        self.class_indices, self.photos = _found(directory, labelled=class_mode is not None)
        if class_mode == "binary" and self.nb_class != 2:
            raise UsageError(f"{directory} has {self.nb_class} classes, and binary is for 2", 'Give "categorical"')
        self.classes = numpy.array([photo.label for photo in self.photos], dtype=numpy.int64)
        """(n) of all photographs, in the order of `filenames`; -1 of one that lies in no class folder."""
        self._how, self._seed, self._say = how, seed, say
        self._warned: set[int] = set()
        self.reset()
        belonging = f" belonging to {self.nb_class} classes" if self.nb_class else ""
        say(f"Found {self.nb_sample} images{belonging}.")

    @property
    def filenames(self) -> list[str]:
        """Below `directory`, such as `cat/cat.0.jpg`."""
        return [photo.path.relative_to(self.directory).as_posix() for photo in self.photos]

    @property
    def paths(self) -> list[Path]:
        return [photo.path for photo in self.photos]

    @property
    def nb_sample(self) -> int:
        """Photographs of an epoch."""
        return len(self.photos)

    @property
    def nb_class(self) -> int:
        return len(self.class_indices)

    # As later versions of Keras call them.
    samples = n = N = nb_sample
    num_classes = num_class = nb_class

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-self.nb_sample // self.batch_size)

    def __iter__(self) -> Flow:
        return self

    def __next__(self) -> Any:
        """TrainerError when no photograph of a whole epoch can be read."""
        for _ in range(2 * len(self)):
            numbers = self._numbers()
            seen = ahead(self._pixels, numbers, len(numbers))
            kept = [(number, pixels) for number, pixels in zip(numbers, seen, strict=True) if pixels is not None]
            if kept:
                images = numpy.stack([pixels for _, pixels in kept]).transpose(0, 3, 1, 2).astype(numpy.float32)
                return images if self.class_mode is None else (images, self._labels([number for number, _ in kept]))
        raise TrainerError(f"none of the photographs in {self.directory} can be read", "Replace them")

    next = __next__

    def reset(self) -> None:
        """Begin again with the first batch of the first epoch."""
        self._epoch = 0
        self._waiting: deque[int] = deque()

    def one_hot(self, labels: Array) -> Array:
        """(n, classes) float32 of class numbers (n)."""
        return numpy.eye(max(self.nb_class, 1), dtype=numpy.float32)[labels]

    def _numbers(self) -> list[int]:
        """Of the next batch's photographs."""
        if not self._waiting:
            numbers = list(range(self.nb_sample))
            if self.shuffle:
                random.Random(f"{self._seed} {self._epoch} flow").shuffle(numbers)
            self._waiting.extend(numbers)
            self._epoch += 1
        return [self._waiting.popleft() for _ in range(min(self.batch_size, len(self._waiting)))]

    def _labels(self, numbers: list[int]) -> Array:
        labels: Array = self.classes[numbers]
        if self.class_mode == "categorical":
            return self.one_hot(labels)
        return labels.astype(numpy.float32) if self.class_mode == "binary" else labels

    def _pixels(self, number: int) -> Pixels | None:
        path = self.photos[number].path
        try:
            return decode(path.read_bytes(), self._how)
        except OSError as error:
            self._warn(number, f"it cannot be read: {error.strerror or error}")
        except Undecodable as error:
            self._warn(number, str(error))
        return None

    def _warn(self, number: int, why: str) -> None:
        if number not in self._warned:
            self._warned.add(number)
            self._say(f"warning: {self.photos[number].path} cannot be used ({why}): it is left out")


def folder(named: str | PathLike[str]) -> Path:
    """The folder that somebody named. `data/dogscatstrain` is `data/dogscats/train`: the lesson writes `path+'train'`,
    and a path may lack its last slash."""
    text = str(Path(fspath(named)).expanduser())
    for tail in () if Path(text).exists() else _TAILS:
        stem = text.removesuffix(tail)
        if stem != text and (Path(stem) / tail).is_dir():
            return Path(stem) / tail
    return Path(text)


def _found(directory: Path, *, labelled: bool) -> tuple[dict[str, int], list[Photo]]:
    """The number of each class, and all photographs: those in the folder itself only where no label is asked for."""
    if not directory.is_dir():
        raise TrainerError(f"there is no folder {directory.absolute()}", _EXPECTED)
    classes = sorted(each.name for each in data.visible(directory) if each.is_dir())
    loose = [] if labelled else _sorted(directory)
    photos = [Photo(path, -1) for path in loose]
    for label, name in enumerate(classes):
        inside = _sorted(directory / name)
        if labelled and not inside:
            raise TrainerError(
                f"the class folder {directory / name} has no photographs", "Fill it, or remove the class"
            )
        photos += [Photo(path, label) for path in inside]
    if not photos:
        what = "has photographs, but no class folder" if _sorted(directory) else "has no photographs"
        raise TrainerError(f"{directory.absolute()} {what}", _EXPECTED)
    return {name: label for label, name in enumerate(classes)}, photos


def _sorted(directory: Path) -> list[Path]:
    return sorted(data.images(directory), key=lambda path: data.natural(path.name))


_EXPECTED = (
    "Expected are train/cat/*.jpg, train/dog/*.jpg, ..., a folder for each class, the same in valid/, and test/*.jpg, "
    "as gpu data prepare NAME train.zip test.zip makes them in data/NAME"
)
