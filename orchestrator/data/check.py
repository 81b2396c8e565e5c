"""Checking a data set, and setting aside what it is better without: moved to its quarantine, never deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainer.run_folder import QUARANTINE, TEST

from ..reporter import Reporter
from . import staging, twins
from .findings import Finding, findings
from .looking import Look, look_at_all
from .photos import Contents, Photo, contents, sample_of


@dataclass(frozen=True)
class Moved:
    """`place` is now at `to`, both in the data set's folder."""

    place: str
    to: str
    why: str


@dataclass(frozen=True)
class Report:
    """`findings` are of what is there now: what was moved is no longer among them."""

    contents: Contents
    findings: list[Finding]
    moved: list[Moved]


def check(root: Path, name: str, reporter: Reporter, *, fix: bool = False) -> Report:
    """Look at every image of `root/name`. `fix`: what does not decode, and a copy too many, go to the quarantine."""
    folder = root / name
    with staging.disk_errors(folder):
        found = contents(folder)
        looks = look_at_all(found.photos, reporter)
        moved: list[Moved] = []
        if fix:
            with staging.alone(root):
                gone = {photo.place: why for photo, why in _too_many(found, looks, reporter)}
                for photo in found.photos:
                    if photo.place in gone:
                        moved += _set_aside(folder, photo, gone[photo.place], reporter)
            kept = [index for index, photo in enumerate(found.photos) if photo.place not in gone]
            looks = [looks[index] for index in kept]
            found = _without(found, kept)
    return Report(found, findings(found, looks), moved)


def _too_many(found: Contents, looks: Sequence[Look], reporter: Reporter) -> Iterator[tuple[Photo, str]]:
    photos = found.photos
    why = {index: f"does not decode: {look.problem}" for index, look in enumerate(looks) if look.problem is not None}
    for group in twins.find(photos, looks):
        stays = photos[group.members[0]].place
        why.update({index: f"the same as {stays}" for index in group.redundant(photos) if index not in why})
    left = Counter((photo.part, photo.label) for photo in photos)
    for index in sorted(why):
        photo = photos[index]
        if photo.part == TEST:
            reporter.line(f"{photo.place!r} stays where it is, for its row in the submission, but {why[index]}")
        elif left[photo.part, photo.label] == 1:
            reporter.line(f"{photo.place!r} stays where it is, the last of its class there, but {why[index]}")
        else:
            left[photo.part, photo.label] -= 1
            yield photo, why[index]


def _set_aside(folder: Path, photo: Photo, why: str, reporter: Reporter) -> Iterator[Moved]:
    """The image, and its copy in the sample, which must be no larger than what it is a sample of."""
    copy = sample_of(folder, photo)
    for path in (copy, photo.path):
        if path.is_file():
            place = path.relative_to(folder)
            to = _free(folder / QUARANTINE / place)
            to.parent.mkdir(parents=True, exist_ok=True)
            path.rename(to)
            yield Moved(place.as_posix(), to.relative_to(folder).as_posix(), why)
    reporter.line(f"set aside: {photo.place!r}: {why}")


def _free(path: Path) -> Path:
    """Another one of that name may have been set aside before."""
    found, number = path, 2
    while found.exists():
        found, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return found


def _without(found: Contents, kept: Sequence[int]) -> Contents:
    photos = [found.photos[index] for index in kept]
    counts = Counter((photo.part, photo.label) for photo in photos)
    classes = {part: {label: counts[part, label] for label in names} for part, names in found.classes.items()}
    return replace(found, photos=photos, classes=classes)
