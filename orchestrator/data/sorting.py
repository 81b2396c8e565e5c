"""Published archives, sorted into folders that `prepare` takes."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trainer.run_folder import IMAGE_SUFFIXES

from ..errors import GpuError
from ..reporter import Reporter
from . import archives
from .places import PLACES

SAMPLE_SUBMISSION = "sample_submission.csv"
_SAMPLES = (SAMPLE_SUBMISSION, "samplesubmission.csv")
_NESTED = (".zip", ".tar", ".tgz", ".gz", ".7z")
_LIMITS = archives.Limits(entry_size=1 << 39)
"""A competition's archive has archives in it, which are larger than any image."""


@contextmanager
def workbench(root: Path, name: str) -> Iterator[Path]:
    """An empty hidden folder under `root`, for one at a time, gone afterwards however this ended or ends next time."""
    folder = root / f".{name}.fetch"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError as error:
        raise GpuError(f"another gpu is fetching {name} into {root}", "Wait until it is done") from error
    finally:
        os.close(descriptor)


def sort_out(archive: Path, layout: str, into: Path, reporter: Reporter) -> None:
    """The images of the archive, each where it belongs: `train/CLASS/`, `valid/CLASS/`, `test/`."""
    place, count = PLACES[layout], 0
    with reporter.progress("unpacking", unit="images") as bar:
        for entry in archives.entries(archive):
            hidden = any(part.startswith(".") or part == "__MACOSX" for part in entry.parts)
            if entry.is_folder or hidden or not _is_image(entry.parts[-1]):
                continue
            if (parts := place(entry.parts)) is not None:
                _write(entry, into.joinpath(*parts))
                count += 1
                bar.update(count)
    if not count:
        raise GpuError(f"{archive} has no images where they are expected", "Remove it and fetch again")


def open_competition(archive: Path, into: Path, reporter: Reporter) -> tuple[Sequence[Path], Path | None]:
    """Of a competition's archive: what `prepare` makes the data set from, and its sample submission.

    Archives in it (`train.zip`) are taken out whole; images that lie in it openly are one folder.
    """
    nested: list[Path] = []
    sample: Path | None = None
    folder = into / "images"
    with reporter.progress("unpacking", unit="files") as bar:
        for count, entry in enumerate(archives.entries(archive, _LIMITS), 1):
            name = entry.parts[-1].lower() if entry.parts else ""
            bar.update(count)
            if entry.is_folder:
                continue
            if name in _SAMPLES:
                sample = _write(entry, into / SAMPLE_SUBMISSION)
            elif _is_image(name):
                _write(entry, folder.joinpath(*entry.parts))
            elif name.endswith(_NESTED):
                nested.append(_write(entry, into / "archives" / entry.parts[-1]))
    packed_sample, images = _samples_apart(nested, into)
    found = [*images, *([folder] if folder.is_dir() else [])]
    if not found:
        raise GpuError(f"{archive} holds no images", "Only competitions of images can be prepared")
    return found, sample or packed_sample


def _samples_apart(nested: Sequence[Path], into: Path) -> tuple[Path | None, list[Path]]:
    """A sample submission may be packed, too: `sample_submission.csv.zip`."""
    sample, rest = None, []
    for archive in nested:
        if not any(archive.name.lower().startswith(name) for name in _SAMPLES):
            rest.append(archive)
            continue
        for entry in archives.entries(archive):
            if not entry.is_folder and entry.parts[-1].lower() in _SAMPLES:
                sample = _write(entry, into / SAMPLE_SUBMISSION)
    return sample, rest


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _write(entry: archives.Entry, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("xb") as out:
            out.writelines(entry.chunks())
    except FileExistsError as error:
        raise GpuError(f"two files would both be {file.name!r}", "The archive is not what is expected") from error
    return file
