"""A person's evening: `gpu` as a process of its own, in a folder of its own, against a sandbox of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

PHOTOGRAPHS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dogscats-kaggle"


@dataclass
class Evening:
    """The folder where the person works; `gpu` runs there."""

    folder: Path

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            **options,
        )

    def gpu(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; fails the test, with all it said, on another exit code."""
        process = self.start(*words)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, f"gpu {' '.join(words)}: exit {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def json(self, *words: str) -> Any:
        return json.loads(self.gpu("--json", *words).stdout)

    def prepare(self, name: str = "shapes", images: int = 30) -> None:
        """A data set of two classes that a network tells apart, in Kaggle's form."""
        archive = kaggle_archive(self.folder / "train.zip", "train", images)
        tests = kaggle_archive(self.folder / "test.zip", "test", 12)
        self.gpu("data", "prepare", name, str(archive), str(tests))


def kaggle_archive(file: Path, folder: str, images: int) -> Path:
    """`train/cat.0.jpg` dark, `train/dog.0.jpg` bright; `test/1.jpg` without a class."""
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(images * (2 if folder == "train" else 1)):
            dog = number % 2
            picture = Image.effect_noise((64, 64), 20 + 60 * dog).convert("RGB")
            path = file.with_name(f"{number}.jpg")
            picture.point(lambda v, dog=dog: min(255, v // 2 + 120 * dog)).save(path)
            archive.write(
                path,
                f"train/{'dog' if dog else 'cat'}.{number // 2}.jpg" if folder == "train" else f"test/{number + 1}.jpg",
            )
            path.unlink()
    return file


@pytest.fixture
def evening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Evening]:
    monkeypatch.setenv("GPU_SANDBOX_DELAY", "0.1")
    folder = tmp_path / "work"
    folder.mkdir()
    yield Evening(folder)
    Evening(folder).gpu("sandbox", "down", "--purge")
    assert processes_of(tmp_path) == []


def processes_of(folder: Path) -> list[str]:
    """Every process, but this one, that has the folder in its command line, its environment or as its place."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _knows(entry, os.fsencode(folder)):
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def _knows(process: Path, folder: bytes) -> bool:
    try:
        status = (process / "stat").read_text().rpartition(")")[2].split()
        if status[0] == "Z" or status[1] == str(os.getpid()):
            return False
        told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        return folder in told or os.fsencode((process / "cwd").readlink()).startswith(folder)
    except OSError:
        return False


def interrupt(process: subprocess.Popen[str]) -> None:
    """Ctrl-C: the whole foreground group hears it."""
    os.killpg(process.pid, signal.SIGINT)
