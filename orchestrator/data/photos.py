"""The images of a data set as the trainer will see them, and all that it will not see."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.run_folder import IMAGE_SUFFIXES, QUARANTINE, SAMPLE, TEST, TRAIN, UNKNOWN, VALID

from .staging import MANIFEST

PARTS = (TRAIN, VALID, TEST)
_OURS = {QUARANTINE, MANIFEST}


@dataclass(frozen=True)
class Photo:
    """An image: `label` is its class's folder, empty in `test/`; `place` is its path in the data set."""

    part: str
    label: str
    path: Path
    place: str


@dataclass(frozen=True)
class Contents:
    """`classes` are the class folders of train and valid with how many images each has. The others are paths."""

    photos: list[Photo]
    classes: dict[str, dict[str, int]]
    hidden: list[str]
    strays: list[str]
    """What lies where no image is looked for, or is none."""
    links: list[str]


def contents(root: Path) -> Contents:
    """Everything under `train`, `valid` and `test` of the data set at `root`."""
    return _Walk(root).whole()


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which 2 comes before 10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((0, int(part), part) if part.isascii() and part.isdigit() else (1, 0, part) for part in parts)


class _Walk:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._found = Contents([], {TRAIN: {}, VALID: {}}, [], [], [])

    def whole(self) -> Contents:
        self._top()
        for part in (TRAIN, VALID):
            for entry in self._entries(self._root / part):
                if entry.is_dir():
                    count = self._images(Path(entry.path), part, entry.name)
                    self._found.classes[part][entry.name] = count
                else:
                    self._found.strays.append(self._place(entry))
        self._images(self._root / TEST, TEST, "", deeper=UNKNOWN)
        self._images(self._root / TEST / UNKNOWN, TEST, "")
        self._found.photos.sort(key=lambda photo: (PARTS.index(photo.part), natural(photo.place)))
        return self._found

    def _top(self) -> None:
        """Other visible files there are the owner's: a table of labels, a note, the competition's sample."""
        for _ in self._entries(self._root):
            pass

    def _images(self, folder: Path, part: str, label: str, deeper: str = "") -> int:
        count = 0
        for entry in self._entries(folder):
            if entry.is_file() and Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                self._found.photos.append(Photo(part, label, Path(entry.path), self._place(entry)))
                count += 1
            elif entry.name != deeper:
                self._found.strays.append(self._place(entry))
        return count

    def _entries(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        """What is visible; the hidden and the links are noted."""
        if not folder.is_dir():
            return
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.is_symlink():
                    self._found.links.append(self._place(entry))
                if not entry.name.startswith("."):
                    yield entry
                elif folder != self._root or entry.name not in _OURS:
                    self._found.hidden.append(self._place(entry))

    def _place(self, entry: os.DirEntry[str]) -> str:
        return Path(entry.path).relative_to(self._root).as_posix()


def sample_of(root: Path, photo: Photo) -> Path:
    """Where the copy of an image is if it is in the sample."""
    return root / SAMPLE / photo.place
