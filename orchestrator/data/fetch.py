"""Making a known data set from its published archive."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.run_folder import TEST, TRAIN, VALID

from ..errors import GpuError
from ..reporter import Reporter
from . import cifar, download, sorting, staging
from .archives import ArchiveRefused
from .known import Known, Source
from .layout import Counts, DataSet, checked_name
from .places import PLACES
from .prepare import prepare, sample
from .split import Shares, shuffled

RECORD = ".gpu-fetched.json"
"""In the data set: from where it is."""


@dataclass(frozen=True)
class Place:
    """Where it is made: `root/name`, with the archives in `cache`. `seed`: of the validation split."""

    root: Path
    name: str
    cache: Path
    seed: int = 0

    @property
    def data(self) -> DataSet:
        return DataSet(self.root, checked_name(self.name))


def fetch(known: Known, place: Place, reporter: Reporter) -> Counts:
    """Make it from the first source that can be had; GpuError names every one that could not.

    Safe to repeat: a download goes on where it was cut, and what is there already is looked at only.
    """
    wish = {"fetched": known.name, "seed": place.seed}
    with staging.disk_errors(place.root):
        if _is_there(known, place, wish):
            reporter.line(f"{place.data.path} is ready: it was fetched before")
            return place.data.counts()
    for source in known.sources:
        _check_layout(known, source)
    reporter.line(known.title)
    reporter.line(f"licence: {known.licence}")
    source, archive, digest = _obtain(known, place.cache, reporter)
    with staging.disk_errors(place.root):
        try:
            _make(known, place, (source, archive), reporter)
        except ArchiveRefused:
            download.distrust(source, place.cache)
            raise
        download.trust(source, digest, place.cache, reporter)
        _note(place, {**wish, "from": source.where, "sha256": digest, "competition": known.competition})
    return place.data.counts()


def competition_of(folder: Path) -> str | None:
    """The Kaggle competition that a data set's folder was fetched from; None where that is not known."""
    try:
        name = json.loads((folder / RECORD).read_text())["competition"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _check_layout(known: Known, source: Source) -> None:
    """Of an entry that somebody has written."""
    numbered = source.layout in cifar.FILES and bool(known.classes)
    if not numbered and source.layout not in PLACES and source.kaggle is None:
        there = ", ".join(PLACES)
        raise GpuError(f"the layout {source.layout!r} of {known.name} is none that can be read", f"There are: {there}")


def _is_there(known: Known, place: Place, wish: dict[str, Any]) -> bool:
    """GpuError for a folder of that name that is something else: before hundreds of megabytes are fetched."""
    folder = place.data.path
    record = _read(folder / RECORD)
    # The recipe of pictures says as much, and was there before the record was.
    for told in (record, staging.made_from(folder)):
        if isinstance(told, dict) and {key: told.get(key) for key in wish} == wish:
            return True
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    # Made, and killed before it was noted: the archive is still there to make the same from.
    made = record is None and staging.made_from(folder) is not None
    if made and any(download.cached(source, place.cache).exists() for source in known.sources):
        return False
    raise GpuError(
        f"{folder} is there already and was not fetched as {known.name} with this seed",
        "Choose another name with --as, or move that folder away",
    )


def _read(file: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else {}


def _note(place: Place, record: dict[str, Any]) -> None:
    file = place.data.path / RECORD
    new = file.with_name(file.name + ".new")
    new.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    new.replace(file)


def _obtain(known: Known, cache: Path, reporter: Reporter) -> tuple[Source, Path, str]:
    failures = []
    for source in known.sources:
        try:
            with staging.disk_errors(cache):
                return source, *download.obtain(source, cache, reporter)
        except GpuError as error:
            if len(known.sources) == 1:
                raise
            failures.append(error.what)
            reporter.line(str(error))
    npm = ", or install npm" if any(source.npm for source in known.sources) else ""
    raise GpuError(f"{known.name} cannot be had: {'; '.join(failures)}", f"Connect to the network{npm}")


def _make(known: Known, place: Place, got: tuple[Source, Path], reporter: Reporter) -> None:
    source, archive = got
    _check_room(archive, place.root)
    if source.layout in cifar.FILES:
        _make_of_pictures(known, place, cifar.pictures(archive, source.layout))
        return
    with sorting.workbench(place.root, place.name) as bench:
        inputs, answers = [bench / "sorted"], None
        if source.kaggle is not None:
            found, answers = sorting.open_competition(archive, bench, reporter)
            inputs = list(found)
        else:
            sorting.sort_out(archive, source.layout, inputs[0], reporter)
        prepare(place.name, inputs, root=place.root, seed=place.seed, reporter=reporter)
        if answers is not None:
            answers.replace(place.data.path / sorting.SAMPLE_SUBMISSION)


def _check_room(archive: Path, root: Path) -> None:
    """Photographs do not shrink in an archive; while they are sorted they are there twice."""
    root.mkdir(parents=True, exist_ok=True)
    needed, free = 2 * archive.stat().st_size, shutil.disk_usage(root).free
    if needed > free:
        what = f"unpacking needs {needed / 1e6:.0f} MB, and the disk that has {root} has {free / 1e6:.0f} MB left"
        raise GpuError(what, "Make room there; the archive is kept")


def _make_of_pictures(known: Known, place: Place, pictures: cifar.Pictures) -> None:
    recipe = {"fetched": known.name, "seed": place.seed, "counts": [known.train, known.valid, known.test]}
    if staging.already_made(place.root, place.name, recipe):
        return
    with staging.building(place.root, place.name) as part:
        _write(part, known, pictures, place.seed)
        sample(part, Shares(), place.seed)
        staging.record(part, recipe)


def _write(part: Path, known: Known, pictures: cifar.Pictures, seed: int) -> None:
    tests: list[tuple[str, int]] = []
    for label, number in known.classes.items():
        mine = {half: [str(i) for i, (n, _) in enumerate(of) if n == number] for half, of in pictures.items()}
        order = shuffled(mine["train"], seed, label)
        if len(order) < known.train + known.valid or len(mine["test"]) < known.test:
            raise GpuError(f"the archive of {known.name} has too few images of {label}", "Remove it from the cache")
        for at, index in enumerate(order[: known.train + known.valid]):
            folder = part / (TRAIN if at < known.train else VALID) / label
            folder.mkdir(parents=True, exist_ok=True)
            pictures["train"][int(index)][1]().save(folder / f"{label}.{at}.png")
        tests += [(index, number) for index in shuffled(mine["test"], seed, label)[: known.test]]
    (part / TEST).mkdir()
    # The order must not tell the class.
    for at, index in enumerate(shuffled([index for index, _ in tests], seed, TEST), 1):
        pictures["test"][int(index)][1]().save(part / TEST / f"{at}.png")
