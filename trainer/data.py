"""A data set on the disk: which photographs there are, and which class each is of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import run_folder
from .errors import TrainerError


@dataclass(frozen=True)
class Photo:
    """One labelled photograph; `label` counts in the sorted order of the classes."""

    path: Path
    label: int


@dataclass(frozen=True)
class Question:
    """One photograph to predict; `id` names it in the submission."""

    path: Path
    id: str


@dataclass(frozen=True)
class DataSet:
    """What to train on, to choose with and to predict. `test` is empty when there is nothing to submit."""

    root: Path
    classes: tuple[str, ...]
    train: tuple[Photo, ...]
    valid: tuple[Photo, ...]
    test: tuple[Question, ...]
    sample: bool = False


def walk(root: Path, *, sample: bool = False) -> DataSet:
    """The data set under `root`, or its `sample/` alone. TrainerError says which folder is missing or empty.

    A sample has no `test/` of its own: its validation photographs are what is predicted, under the ids `CLASS/STEM`,
    so that its submission cannot be taken for one of the whole.
    """
    if not root.is_dir():
        raise TrainerError(f"there is no data set at {root}", "Make one with: gpu data prepare NAME train.zip test.zip")
    base = root / run_folder.SAMPLE if sample else root
    if sample and not base.is_dir():
        raise TrainerError(f"{root} has no sample/", "Make it with gpu data prepare, or train without --sample")
    classes = _classes(base / run_folder.TRAIN)
    _same_classes(base / run_folder.VALID, classes)
    train = tuple(_labelled(base / run_folder.TRAIN, classes))
    valid = tuple(_labelled(base / run_folder.VALID, classes))
    test = tuple(_questions(base / run_folder.TEST))
    if sample and not test:
        test = _unique(Question(photo.path, f"{classes[photo.label]}/{photo.path.stem}") for photo in valid)
    return DataSet(root, classes, train, valid, test, sample)


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which 2 comes before 10: digits count as numbers, everything else as text."""
    # Only ASCII digits: int() would take others too, but one glyph's two spellings would then sort as equal.
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    key = [(0, int(part), part) if part.isascii() and part.isdigit() else (1, 0, part) for part in parts]
    return tuple(key)


def _classes(train: Path) -> tuple[str, ...]:
    if not train.is_dir():
        raise TrainerError(f"{train.parent} has no train/", "Put one folder of photographs for each class into it")
    classes = tuple(sorted(folder.name for folder in visible(train) if folder.is_dir()))
    if len(classes) < 2:
        found = f"only the class {classes[0]}" if classes else "no class folder"
        raise TrainerError(f"{train} has {found}", "At least two are needed, one folder for each class")
    return classes


def _same_classes(valid: Path, classes: tuple[str, ...]) -> None:
    if not valid.is_dir():
        raise TrainerError(
            f"{valid.parent} has no valid/",
            "Move a fifth of the photographs of each class there, or use gpu data prepare",
        )
    strangers = sorted({folder.name for folder in visible(valid) if folder.is_dir()} - set(classes))
    if strangers:
        raise TrainerError(f"{valid / strangers[0]} is a class that train/ does not have", "Rename or remove it")


def _labelled(part: Path, classes: tuple[str, ...]) -> Iterator[Photo]:
    for label, name in enumerate(classes):
        photos = sorted(images(part / name))
        if not photos:
            raise TrainerError(f"the class folder {part / name} has no photographs", "Fill it, or remove the class")
        yield from (Photo(path, label) for path in photos)


def _questions(test: Path) -> tuple[Question, ...]:
    found = [*images(test), *images(test / run_folder.UNKNOWN)]
    return _unique(Question(path, path.stem) for path in found)


def nothing_to_predict(root: Path) -> str:
    """Why a data set has no questions, in words."""
    test = root / run_folder.TEST
    if not test.is_dir():
        return f"there is no {run_folder.TEST}/ in {root}"
    below = sorted({path.parent for path in test.rglob("*") if path.suffix.lower() in run_folder.IMAGE_SUFFIXES})
    where = f"; there are some in {below[0].relative_to(root)}/, move them up" if below else ""
    return f"no photograph lies in {test}{where}"


def _unique(questions: Iterator[Question]) -> tuple[Question, ...]:
    by_id: dict[str, Question] = {}
    for question in questions:
        other = by_id.setdefault(question.id, question)
        if other is not question:
            raise TrainerError(
                f"{other.path} and {question.path} would both be {question.id} in the submission", "Rename one of them"
            )
    return tuple(sorted(by_id.values(), key=lambda question: natural(question.id)))


def images(folder: Path) -> Iterator[Path]:
    """The photographs that lie in `folder` itself, hidden ones left out; none when there is no such folder."""
    if not folder.is_dir():
        return
    for path in visible(folder):
        if path.suffix.lower() in run_folder.IMAGE_SUFFIXES and path.is_file():
            yield path


def visible(folder: Path) -> Iterator[Path]:
    """What is in `folder`, hidden files and folders left out."""
    try:
        yield from (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise TrainerError(f"{folder} cannot be read: {error.strerror}", "Check its mode and owner") from error
