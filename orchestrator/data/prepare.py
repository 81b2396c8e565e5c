"""Making a data set from archives or folders: unpack, check that every image decodes, split, put in place."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from trainer.run_folder import IMAGE_SUFFIXES, QUARANTINE, SAMPLE, TEST, TRAIN, VALID

from ..errors import GpuError
from ..reporter import Reporter
from . import archives as reading
from . import staging
from .layout import Counts, DataSet, checked_name
from .split import Shares, divided, sampled

_PARTS = {"train": TRAIN, "valid": VALID, "val": VALID, "validation": VALID, "test": TEST, "test1": TEST}
_KAGGLE = re.compile(r"([^.]+)\.\d+\.[^.]+")
_Place = tuple[str, str, str]
"""Part, class (empty in test) and file name."""


@dataclass(frozen=True)
class _Image:
    source: Path
    parts: tuple[str, ...]
    file: Path


def prepare(
    name: str,
    archives: Sequence[Path],
    *,
    root: Path,
    seed: int = 0,
    shares: Shares | None = None,
    limits: reading.Limits | None = None,
    reporter: Reporter,
) -> Counts:
    """Make `root/name`; the same archives and seed give the same tree. GpuError leaves nothing half made."""
    data = DataSet(root, checked_name(name))
    shares = shares or Shares()
    with staging.disk_errors(root):
        hashes = sorted(_digest(path) for path in archives)
        recipe = {"sha256": hashes, "seed": seed, "shares": asdict(shares)}
        if staging.already_made(root, name, recipe):
            reporter.line(f"{data.path} is ready: the same archives made it")
            return data.counts()
    with staging.building(root, name) as part:
        images, folders = _unpack(archives, part / ".incoming", limits, reporter)
        bad = _undecodable(images, reporter)
        places = _places(images, folders)
        _put(part, places, bad, reporter)
        _divide(part, shares, seed)
        shutil.rmtree(part / ".incoming")
        staging.record(part, recipe)
    return data.counts()


def _digest(path: Path) -> str:
    if not path.exists():
        raise GpuError(f"there is no archive {path}", "Check its path")
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            digest.update(os.fsencode(file.relative_to(path)) + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _folder_entries(folder: Path) -> Iterator[reading.Entry]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise reading.ArchiveRefused(folder, "is a link or a device", str(path.relative_to(folder)))

        def chunks(path: Path = path) -> Iterator[bytes]:
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 16):
                    yield chunk

        yield reading.Entry(path.relative_to(folder).parts, path.is_dir(), chunks)


def _unpack(
    archives: Sequence[Path], into: Path, limits: reading.Limits | None, reporter: Reporter
) -> tuple[list[_Image], list[tuple[Path, tuple[str, ...]]]]:
    into.mkdir()
    images: list[_Image] = []
    folders: list[tuple[Path, tuple[str, ...]]] = []
    with reporter.progress("unpacking", unit="images") as bar:
        for archive in archives:
            for entry in _folder_entries(archive) if archive.is_dir() else reading.entries(archive, limits):
                if any(part.startswith(".") or part == "__MACOSX" for part in entry.parts):
                    continue
                if entry.is_folder:
                    folders.append((archive, entry.parts))
                elif entry.parts and Path(entry.parts[-1]).suffix.lower() in IMAGE_SUFFIXES:
                    file = into / str(len(images))
                    with file.open("xb") as out:
                        out.writelines(entry.chunks())
                    images.append(_Image(archive, entry.parts, file))
                    bar.update(len(images))
    return images, folders


def _undecodable(images: Sequence[_Image], reporter: Reporter) -> dict[Path, str]:
    bad: dict[Path, str] = {}
    with reporter.progress("decoding", len(images), "images") as bar, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done, (image, why) in enumerate(zip(images, pool.map(_problem, images), strict=True), 1):
                bar.update(done)
                if why is not None:
                    bad[image.file] = why
    return bad


def _problem(image: _Image) -> str | None:
    try:
        with Image.open(image.file) as picture:
            picture.load()
    except (
        *(OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, ArithmeticError, MemoryError),
        *(Image.DecompressionBombError, Image.DecompressionBombWarning, RuntimeError, NotImplementedError),
    ) as error:
        return str(error).replace(str(image.file), "it")[:200] or type(error).__name__
    return None


def _places(images: Sequence[_Image], folders: Sequence[tuple[Path, tuple[str, ...]]]) -> dict[_Place, _Image]:
    places: dict[_Place, _Image] = {}
    classes: set[str] = set()
    prefixes = {
        source: os.path.commonprefix([image.parts[:-1] for image in images if image.source == source])  # noqa: RUF071 (tuples)
        for source in {image.source for image in images}
    }
    for image in images:
        place = _place(image.source, image.parts, len(prefixes[image.source]))
        if place in places:
            raise GpuError(f"two images would both be {'/'.join(place)!r}", "Give each class of images its own names")
        places[place] = image
        classes.add(place[1])
    for source, parts in folders:
        lowered = [part.lower() for part in parts]
        if len(parts) >= 2 and _PARTS.get(lowered[-2]) in (TRAIN, VALID) and parts[-1] not in classes:
            raise GpuError(f"the class folder {'/'.join(parts)!r} of {source} has no images", "Fill it or remove it")
    return places


def _place(source: Path, parts: tuple[str, ...], prefix: int) -> _Place:
    for index, part in enumerate(parts[:-1]):
        if part.lower() in _PARTS:
            return _in_part(source, _PARTS[part.lower()], parts[index + 1 :])
    stem = source.name.partition(".")[0].lower()
    if stem in _PARTS:
        return _in_part(source, _PARTS[stem], parts[prefix if len(parts) == prefix + 1 else 0 :])
    if len(parts) > prefix + 1:
        return TRAIN, parts[prefix], "-".join(parts[prefix + 1 :])
    if _KAGGLE.fullmatch(parts[-1]) or prefix == 0:
        return _in_part(source, TRAIN, parts[-1:])
    return TRAIN, parts[prefix - 1], parts[-1]


def _in_part(source: Path, part: str, rest: tuple[str, ...]) -> _Place:
    if part == TEST:
        return TEST, "", "-".join(rest[1:] if len(rest) > 1 and rest[0] == "unknown" else rest)
    if len(rest) > 1:
        return part, rest[0], "-".join(rest[1:])
    named = _KAGGLE.fullmatch(rest[0])
    if named is None:
        raise GpuError(f"the image {rest[0]!r} of {source} says no class", "Name it like cat.0.jpg, or use a folder")
    return part, named[1], rest[0]


def _put(part: Path, places: dict[_Place, _Image], bad: dict[Path, str], reporter: Reporter) -> None:
    labels = {place[1] for place in places if place[0] == TRAIN}
    if not labels:
        raise GpuError("the archives hold no images to train on", "They need train/cat.0.jpg or train/CLASS/0.jpg")
    if len(labels) < 2:
        raise GpuError(f"there is only one class, {min(labels)!r}", "Telling apart takes at least two")
    for place, image in sorted(places.items()):
        aside = image.file in bad
        target = part.joinpath(*([QUARANTINE] if aside else []), *filter(None, place))
        if aside:
            reporter.line(f"set aside: {'/'.join(filter(None, place))!r} does not decode ({bad[image.file]})")
        target.parent.mkdir(parents=True, exist_ok=True)
        image.file.rename(target)
    for label in sorted(labels):
        if not (part / TRAIN / label).is_dir():
            raise GpuError(f"no image of the class {label!r} decodes", "Get its images again")


def _divide(part: Path, shares: Shares, seed: int) -> None:
    given = (part / VALID).is_dir()
    for label in _listed(part / TRAIN):
        names = _listed(part / TRAIN / label)
        if not given:
            if len(names) < 2:
                raise GpuError(f"the class {label!r} has only one image", "One to train on and one to check takes two")
            (part / VALID / label).mkdir(parents=True)
            for name in divided(names, shares, seed, label)[1]:
                (part / TRAIN / label / name).rename(part / VALID / label / name)
    sample(part, shares, seed)


def sample(part: Path, shares: Shares, seed: int) -> None:
    """Copy a few images of every class into `sample/`."""
    for half, most in ((TRAIN, shares.sample_train), (VALID, shares.sample_valid)):
        for folder in sorted((part / half).iterdir()):
            target = part / SAMPLE / half / folder.name
            target.mkdir(parents=True)
            for name in sampled(_listed(folder), most, seed, folder.name):
                shutil.copyfile(folder / name, target / name)


def _listed(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir())
