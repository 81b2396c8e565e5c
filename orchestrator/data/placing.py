"""Which part and class of a data set an image belongs to, by where it lay in its archive or folder."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from trainer.run_folder import SAMPLE, TEST, TRAIN, UNKNOWN, VALID

from ..errors import GpuError
from .unpacking import Image, Unpacked

Place = tuple[str, str, str]
"""Part, class (empty in a test whose classes are not told) and file name."""

_PARTS = {"train": TRAIN, "training": TRAIN, "valid": VALID, "val": VALID, "validation": VALID}
_PARTS |= {"test": TEST, "test1": TEST, "testing": TEST}
_SET = re.compile(r"[ _-](?:set|data|images)$")
_KAGGLE = re.compile(r"([^.]+)\.\d+\.[^.]+")


def places(found: Unpacked) -> dict[Place, Image]:
    """Every image with its place: the same ones whatever the order of the sources. No image is left without one.

    Names that would be one file, on a disk that tells no capitals from others too, get a number. GpuError where a class
    cannot be told, is empty, or where two images of the test would be one row of the submission.
    """
    where = _Sources(found.images)
    wanted: dict[tuple[str, str], list[tuple[str, Image]]] = defaultdict(list)
    for image in found.images:
        part, label, name = where.place(image.source, image.parts)
        wanted[part, label].append((name, image))
    classes = {label for part, label in wanted if part != TEST}
    _refuse_empty(found, where, classes)
    if not {label for part, label in wanted if part == TEST} <= classes:
        _untold(wanted)
    made: dict[Place, Image] = {}
    for (part, label), images in wanted.items():
        named = _apart(images) if label else _as_ids(images)
        made.update({(part, label, name): image for name, image in named.items()})
    return made


def beside(images: Sequence[Image]) -> list[Image]:
    """Those that lie beside the `train/` of their own source, and in no other part: no class is to be made of a banner,
    or of the figures of a paper. Those of a `sample/` there, too: they are copies."""
    parts = [[part_of(part) for part in image.parts[:-1]] for image in images]
    tops = {
        (image.source, image.parts[: found.index(TRAIN)])
        for image, found in zip(images, parts, strict=True)
        if TRAIN in found
    }
    divided = {source for source, _ in tops}
    return [
        image
        for image, found in zip(images, parts, strict=True)
        if image.source in divided and (not any(found) or (image.source, _above_sample(image.parts)) in tops)
    ]


def _above_sample(parts: tuple[str, ...]) -> tuple[str, ...] | None:
    """The folder that the image's `sample/train/`, or another part of one, is in."""
    inner = (i for i, part in enumerate(parts[:-2]) if part == SAMPLE and part_of(parts[i + 1]))
    return next((parts[:i] for i in inner), None)


class _Sources:
    """How deep the images of each source lie: the folders that all of them share say nothing of their class."""

    def __init__(self, images: Sequence[Image]) -> None:
        folders: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for image in images:
            folders[image.source].append(image.parts[:-1])
        self._depth = {source: len(os.path.commonprefix(paths)) for source, paths in folders.items()}  # noqa: RUF071 (tuples)

    def place(self, source: str, parts: tuple[str, ...]) -> Place:
        depth = self._depth.get(source, 0)
        for index, part in enumerate(parts[:-1]):
            if kind := part_of(part):
                rest = parts[index + 1 :]
                if len(rest) == 1 and depth < index and not _KAGGLE.fullmatch(rest[0]):
                    # CLASS/train/1.jpg and CLASS/test/1.jpg.
                    rest = (parts[index - 1], *rest)
                return _in_part(source, kind, rest)
        if kind := part_of(stem(source)):
            return _in_part(source, kind, parts[depth if len(parts) == depth + 1 else 0 :])
        if len(parts) > depth + 1:
            return TRAIN, parts[depth], "-".join(parts[depth + 1 :])
        if _KAGGLE.fullmatch(parts[-1]):
            return _in_part(source, TRAIN, parts[-1:])
        if depth:
            return TRAIN, parts[depth - 1], parts[-1]
        if len(self._depth) > 1:
            # cat.zip and dog.zip, or the folders cat/ and dog/, each with its images at the top.
            return TRAIN, stem(source), parts[-1]
        return _in_part(source, TRAIN, parts)


def part_of(name: str) -> str | None:
    """`train`, `valid` or `test` for the names that these folders and archives are given; None for any other."""
    return _PARTS.get(_SET.sub("", name.lower()))


def stem(source: str) -> str:
    """`train` of `~/Downloads/train.zip`."""
    return PurePath(os.path.realpath(source)).name.partition(".")[0]


def _in_part(source: str, part: str, rest: tuple[str, ...]) -> Place:
    while len(rest) > 1 and part_of(rest[0]) == part:
        # Some archives have train/train/CLASS.
        rest = rest[1:]
    if part == TEST:
        rest = rest[1:] if rest[0] == UNKNOWN and len(rest) > 1 else rest
    if part == TEST and len(rest) == 1:
        return TEST, "", rest[0]
    if len(rest) > 1:
        return part, rest[0], "-".join(rest[1:])
    named = _KAGGLE.fullmatch(rest[0])
    if named is None:
        raise GpuError(f"the image {rest[0]!r} of {source} says no class", "Name it like cat.0.jpg, or use a folder")
    return part, named[1], rest[0]


def _untold(wanted: dict[tuple[str, str], list[tuple[str, Image]]]) -> None:
    """Folders of the test that are not all classes are part of the images' names."""
    for part, label in [key for key in wanted if key[0] == TEST and key[1]]:
        wanted[part, ""] += [(f"{label}-{name}", image) for name, image in wanted.pop((part, label))]


def _refuse_empty(found: Unpacked, where: _Sources, classes: set[str]) -> None:
    """A class folder without images would otherwise be a class less, and nobody would notice."""
    filled = {(image.source, image.parts[:depth]) for image in found.images for depth in range(len(image.parts))}
    stuffed = {(source, parts[:depth]) for source, parts in found.others for depth in range(len(parts))}
    for source, parts in found.folders:
        if (source, parts) in filled or _is_part(parts):
            continue
        part, label, rest = where.place(source, (*parts, "0.jpg"))
        explicit = any(map(part_of, parts))
        at_its_level = part != TEST and rest == "0.jpg" and label == parts[-1]
        if at_its_level and label not in classes and (explicit or (source, parts) not in stuffed):
            raise GpuError(f"the class folder {'/'.join(parts)!r} of {source} has no images", "Fill it or remove it")


def _is_part(parts: Sequence[str]) -> bool:
    return part_of(parts[-1]) is not None


def _as_ids(images: Iterable[tuple[str, Image]]) -> dict[str, Image]:
    """By name; the name without its suffix is the id in the submission, and must be one image's."""
    seen: dict[str, str] = {}
    for name, _ in images:
        stem = PurePath(name).stem
        if stem in seen:
            both = f"{seen[stem]!r} and {name!r}" if seen[stem] != name else f"two images {name!r}"
            raise GpuError(f"{both} of the test would be one row of the submission", "Rename one of them")
        seen[stem] = name
    return dict(images)


def _apart(images: Iterable[tuple[str, Image]]) -> dict[str, Image]:
    alike: dict[str, list[tuple[str, Image]]] = defaultdict(list)
    for name, image in images:
        alike[_key(name)].append((name, image))
    made = {group[0][0]: group[0][1] for group in alike.values() if len(group) == 1}
    taken = set(alike)
    for group in (alike[key] for key in sorted(alike) if len(alike[key]) > 1):
        # By their content: which one keeps the name does not depend on the order that they came in.
        (first, image), *rest = sorted(group, key=lambda pair: (_digest(pair[1]), pair[0], pair[1].parts))
        made[first] = image
        for name, image in rest:
            made[_numbered(name, taken)] = image
    return made


def _numbered(name: str, taken: set[str]) -> str:
    path = PurePath(name)
    number = 2
    while _key(found := f"{path.stem}-{number}{path.suffix}") in taken:
        number += 1
    taken.add(_key(found))
    return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _digest(image: Image) -> bytes:
    return hashlib.sha256(image.file.read_bytes()).digest()
