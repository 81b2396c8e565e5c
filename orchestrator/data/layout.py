"""What a data set's folder holds, and which ones there are at home."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from trainer.run_folder import IMAGE_SUFFIXES, QUARANTINE, TEST, TRAIN, VALID, check_data_name

from ..errors import GpuError, UsageError, nearest
from . import catalog


@dataclass(frozen=True)
class Counts:
    """Images: a class in `train` and `valid`, altogether in `test` and in the quarantine."""

    train: dict[str, int]
    valid: dict[str, int]
    test: int
    quarantined: int


@dataclass(frozen=True)
class DataSet:
    """The folder `root/name`."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        return self.root / self.name

    def counts(self) -> Counts:
        return Counts(
            train=_by_class(self.path / TRAIN),
            valid=_by_class(self.path / VALID),
            test=_images(self.path / TEST),
            quarantined=_images(self.path / QUARANTINE),
        )


def checked_name(name: str) -> str:
    """The name itself; UsageError unless it can be a folder at home and on the machine."""
    try:
        return check_data_name(name)
    except ValueError as error:
        raise UsageError(str(error), "Use letters, digits, dots, dashes and underscores") from error


def names(root: Path) -> list[str]:
    """The data sets under `root`: its folders that have a `train/`."""
    if not root.is_dir():
        return []
    return sorted(child.name for child in root.iterdir() if child.name[0] != "." and (child / TRAIN).is_dir())


def folder(root: Path, name: str) -> Path:
    """The folder of a data set, sound or not; UsageError says how to get one that is not there."""
    path = root / checked_name(name)
    if not path.is_dir():
        raise _unknown(root, name)
    return path


def find(root: Path, name: str) -> Path:
    """The folder of a data set that can be trained on; otherwise one error saying what it lacks."""
    path = folder(root, name)
    for part in (TRAIN, VALID):
        if not (path / part).is_dir():
            # Of its own images, under another name: `prepare` changes nothing that is there.
            command = f"gpu data prepare {name}-2 {shlex.quote(str(path))}"
            raise GpuError(f"{path} has no {part}/", f"Make one that has with: {command}")
        counts = _by_class(path / part)
        if empty := sorted(label for label, count in counts.items() if not count):
            raise GpuError(f"the class folder {path / part / empty[0]} has no images", "Fill it or remove it")
        if len(counts) < 2:
            raise GpuError(f"{path / part} has {len(counts)} class folders", "Telling apart takes at least two")
    return path


def _unknown(root: Path, name: str) -> UsageError:
    what = f"there is no data set {name} in {root}"
    known = catalog.known_names()
    if name in known:
        return UsageError(what, f"It is a known one: gpu data fetch {name}")
    here = names(root)
    hints = [nearest(name, here)]
    close = nearest(name, [each for each in known if each not in here])
    if close:
        hints.append(f"{close} Known ones come with: gpu data fetch {close.split()[3].rstrip('?,')}")
    elif not hints[0]:
        hints.append(f"Make it with: gpu data prepare {name} ARCHIVE...")
    return UsageError(what, " ".join(filter(None, hints)))


def _by_class(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    classes = (child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    return {child.name: _images(child) for child in sorted(classes)}


def _images(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
