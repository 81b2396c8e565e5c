"""Where an image of a published archive belongs in a data set: pure functions of its path in the archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trainer.run_folder import TEST, TRAIN, VALID

Parts = tuple[str, ...]
_HALVES = {"train": TRAIN, "valid": VALID, "test": TEST, "test1": TEST}
_OURS = ("sample", "models")
"""Folders of the course's archive: a sample is made anew, and weights are no images."""


def class_folders(parts: Parts) -> Parts | None:
    """`dogscats/train/cats/cat.1.jpg` as it is; the course's `test1/` is the test."""
    for index, part in enumerate(parts[:-1]):
        if part.lower() in _OURS:
            return None
        if part.lower() in _HALVES:
            return (_HALVES[part.lower()], *parts[index + 1 :])
    return None


def pet_kind(parts: Parts) -> Parts | None:
    """Oxford-IIIT Pets: names of cats' breeds begin with a capital, those of dogs' do not."""
    if (breed := _breed(parts)) is None:
        return None
    return TRAIN, "cat" if breed[:1].isupper() else "dog", parts[-1]


def pet_breed(parts: Parts) -> Parts | None:
    """`images/yorkshire_terrier_12.jpg` is one of the class yorkshire_terrier."""
    breed = _breed(parts)
    return None if breed is None else (TRAIN, breed, parts[-1])


def _breed(parts: Parts) -> str | None:
    inside = len(parts) > 1 and parts[-2] == "images"
    return parts[-1].rpartition("_")[0] or None if inside else None


PLACES: Mapping[str, Callable[[Parts], Parts | None]] = {
    "class-folders": class_folders,
    "pets-kinds": pet_kind,
    "pets-breeds": pet_breed,
}
"""By the layout that `datasets.yaml` names; None for what is no image of the data set."""
