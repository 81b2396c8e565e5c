"""Every image of the archives and folders that were given, in one hidden folder, each with where it came from."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from trainer.run_folder import IMAGE_SUFFIXES

from ..errors import GpuError
from ..reporter import Progress, Reporter
from . import archives as reading

Folder = tuple[str, tuple[str, ...]]
"""A source and a path in it."""
SAMPLES = ("sample_submission.csv", "sampleSubmission.csv")
"""What the trainer looks for beside `train/`: it decides on the header and the ids."""
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class Image:
    """`source` names the archive or folder, `parts` is the path in it; `file` has its bytes."""

    source: str
    parts: tuple[str, ...]
    file: Path


@dataclass
class Unpacked:
    images: list[Image] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    """Those that have an entry of their own: an empty one is known by that alone."""
    samples: dict[str, Path] = field(default_factory=dict)
    """The competition's sample of a submission, by its name."""
    others: list[Folder] = field(default_factory=list)
    """Files that are no images by their names."""

    def left_out(self) -> str:
        """«3 of .txt, 1 of .heic»; empty when every file is an image."""
        kinds = Counter(PurePosixPath(parts[-1]).suffix.lower() or "no suffix" for _, parts in self.others)
        return ", ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items(), key=lambda one: (-one[1], one)))


def unpack(sources: Sequence[Path], into: Path, limits: reading.Limits | None, reporter: Reporter) -> Unpacked:
    """The images of all sources as numbered files in the new folder `into`; hidden ones are no part of a data set.

    Archives inside an archive or a folder are unpacked too, as a competition's `NAME.zip` has its `train.zip`.
    """
    into.mkdir()
    with reporter.progress("unpacking", unit="images") as bar:
        work = _Unpacking(into, limits, bar)
        for source in sources:
            work.take(str(source), source)
    if work.found.others:
        reporter.line(f"left out, since they are no images by their names: {work.found.left_out()}")
    return work.found


class _Unpacking:
    def __init__(self, into: Path, limits: reading.Limits | None, bar: Progress) -> None:
        self._into, self._limits, self._bar = into, limits, bar
        self._files = 0
        self.found = Unpacked()

    def take(self, source: str, file: Path, *, nested: bool = False) -> None:
        inner: list[tuple[str, Path]] = []
        for entry in _folder_entries(file) if file.is_dir() else self._archive_entries(source, file):
            if not entry.parts or any(part.startswith(".") or part == "__MACOSX" for part in entry.parts):
                continue
            name = entry.parts[-1].lower()
            if entry.is_folder:
                self.found.folders.append((source, entry.parts))
            elif PurePosixPath(name).suffix in IMAGE_SUFFIXES:
                self.found.images.append(Image(source, entry.parts, self._written(entry)))
                self._bar.update(len(self.found.images))
            elif entry.parts[-1] in SAMPLES:
                self.found.samples[entry.parts[-1]] = self._written(entry)
            elif name.endswith(ARCHIVES) and not nested:
                inner.append((f"{source}/{'/'.join(entry.parts)}", self._written(entry)))
            else:
                self.found.others.append((source, entry.parts))
        for name, archive in inner:
            self.take(name, archive, nested=True)
            archive.unlink()

    def _archive_entries(self, source: str, file: Path) -> Iterator[reading.Entry]:
        try:
            yield from reading.entries(file, self._limits)
        except reading.ArchiveRefused as error:
            if source == str(file):
                raise
            # An archive inside another has a number for its name here.
            raise GpuError(error.what.replace(str(file), source, 1), error.remedy) from error

    def _written(self, entry: reading.Entry) -> Path:
        file = self._into / str(self._files)
        self._files += 1
        with file.open("xb") as out:
            out.writelines(entry.chunks())
        return file


def visible_files(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Everything in a folder but what is hidden, in order, and whether it is a folder. ArchiveRefused names a link or
    a device."""
    for here, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*folders, *files]):
            path = Path(here, name)
            mode = path.lstat().st_mode
            if name.startswith("."):
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise reading.ArchiveRefused(folder, "is a link or a device", str(path.relative_to(folder)))
            yield path, stat.S_ISDIR(mode)


def _raise(error: OSError) -> None:
    raise error


def _folder_entries(folder: Path) -> Iterator[reading.Entry]:
    for path, is_folder in visible_files(folder):

        def chunks(path: Path = path) -> Iterator[bytes]:
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 16):
                    yield chunk

        yield reading.Entry(path.relative_to(folder).parts, is_folder, chunks)
