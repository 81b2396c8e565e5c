"""A labelled test set of one's own. Its images are in `test/` under numbers that tell nothing, as a competition's are;
its labels are in `data/.sealed/`, outside of every folder that is ever sent to a machine, for their owner alone.

A seal is found by what is in `test/`, not by the data set's name: made anew from the same images it is the same seal,
with the same count of looks.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.run_folder import TEST, TRAIN

from ..errors import GpuError
from .split import Amount, sealed, shuffled

FOLDER = ".sealed"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Seal:
    """`labels`: the class of each id in the submission."""

    file: Path
    labels: Mapping[str, str]

    @property
    def _looks(self) -> Path:
        return self.file.with_suffix(".looks.jsonl")

    def looks(self) -> list[dict[str, Any]]:
        """Every look at it so far, oldest first."""
        try:
            lines = self._looks.read_text().splitlines()
        except FileNotFoundError:
            return []
        return [found for line in lines if isinstance(found := _parsed(line), dict)]

    def remember(self, look: Mapping[str, Any]) -> int:
        """Write one more look down, before anybody sees its score; returns how many there were now."""
        # A line that a full disk cut short must not swallow the next one.
        line = f"\n{json.dumps(look)}\n".encode()
        descriptor = os.open(self._looks, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, line)
            os.fsync(descriptor)
            return len(self.looks())
        finally:
            os.close(descriptor)


def drawn(part: Path, amount: Amount, seed: int) -> dict[str, str]:
    """`amount` of each class of the new data set `part`: their paths in it, with their classes."""
    if (part / TEST).is_dir():
        raise GpuError(
            "the archives have a test of their own, and --holdout would make another",
            "Leave one of the two out: rows of both could not be told apart",
        )
    return {
        f"{TRAIN}/{folder.name}/{file}": folder.name
        for folder in sorted((part / TRAIN).iterdir())
        for file in sealed([child.name for child in folder.iterdir()], amount, seed, folder.name)
    }


def labelled(part: Path) -> dict[str, str]:
    """The images of a test that came with class folders, as `drawn`."""
    folders = [child for child in (part / TEST).iterdir() if child.is_dir()] if (part / TEST).is_dir() else []
    return {f"{TEST}/{folder.name}/{child.name}": folder.name for folder in folders for child in folder.iterdir()}


def seal(part: Path, chosen: Mapping[str, str], seed: int, *, root: Path, name: str) -> None:
    """Move the images `chosen` to `test/` of the new data set `part`, and their classes to `root`."""
    (part / TEST).mkdir(exist_ok=True)
    labels = {}
    # An order in which neither classes nor names can be seen.
    for number, place in enumerate(shuffled(chosen, seed, TEST), 1):
        labels[str(number)] = chosen[place]
        target = part / TEST / f"{number}{Path(place).suffix.lower()}"
        (part / place).rename(target)
        # When each was unpacked would tell the classes, which came one after another.
        os.utime(target, (0, 0))
    for folder in [child for child in (part / TEST).iterdir() if child.is_dir()]:
        folder.rmdir()
    _write(root, name, fingerprint(part), labels)


def fingerprint(folder: Path) -> str:
    """One SHA-256 over names and contents of `test/`, as the manifest of every run has it."""
    running = hashlib.sha256()
    for file in sorted((folder / TEST).iterdir(), key=lambda path: os.fsencode(path.name)):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        running.update(f"{digest}  {TEST}/{file.name}\0".encode())
    return running.hexdigest()


def find(root: Path, name: str, images: str) -> Seal | None:
    """What was sealed of the data set `name` with the fingerprint `images`; None where nothing was."""
    if not _DIGEST.fullmatch(images):
        return None
    file = _file(root, name, images)
    try:
        document = json.loads(file.read_bytes())
        if document["images"] != images:
            return None
        return Seal(file, {str(key): str(label) for key, label in document["labels"].items()})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "Move it and the data set away, and prepare the data set again: the labels will be the same"
        raise GpuError(f"{file} is damaged", remedy) from error


def has_any(root: Path, name: str) -> bool:
    """Whether anything was ever sealed of the data set `name`."""
    pattern = re.compile(re.escape(name) + r"-[0-9a-f]{16}\.json")
    return any(pattern.fullmatch(file.name) for file in (root / FOLDER).glob("*.json"))


def _file(root: Path, name: str, images: str) -> Path:
    return root / FOLDER / f"{name}-{images[:16]}.json"


def _write(root: Path, name: str, images: str, labels: Mapping[str, str]) -> None:
    folder = root / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    file = _file(root, name, images)
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump({"images": images, "labels": labels}, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    new.rename(file)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
