"""Kaggle, through its official client as a process of its own: whatever token it knows is seen by it alone."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import kaggletoken
from .errors import GpuError, ToolMissing
from .reporter import Reporter

SECONDS = 600.0
"""For anything but a download."""
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Submission:
    """What Kaggle says of one. `status`: pending, complete or error. `score`: on the public leaderboard."""

    ref: str
    date: str
    description: str
    status: str
    score: float | None


@dataclass(frozen=True)
class Client:
    """The program `kaggle`, for one competition."""

    program: str
    competition: str

    @classmethod
    def found(cls, competition: str) -> Client:
        """ToolMissing without the client, GpuError without a token: each says how to get it."""
        beside = Path(sys.executable).with_name("kaggle")
        program = str(beside) if os.access(beside, os.X_OK) else shutil.which("kaggle")
        rules = f"accept the rules once at https://www.kaggle.com/c/{competition}/rules"
        if program is None:
            install = f"Install it with `{sys.executable} -m pip install kaggle`, {kaggletoken.HOW}, and {rules}"
            raise ToolMissing("Kaggle's official client", "here", install)
        if not kaggletoken.is_there(os.environ):
            raise GpuError("there is no token for Kaggle", f"To get one, {kaggletoken.HOW}; and {rules}")
        return cls(program, competition)

    def submit(self, file: Path, message: str) -> str:
        """Hand the file in; the client's own words on it."""
        said = self._run("submit", self.competition, "-f", str(file), "-m", message, "-q")
        if "Could not submit" in said:
            raise GpuError(f"Kaggle did not take {file.name}", "Check the network, and try again")
        return said.strip()

    def submissions(self) -> list[Submission]:
        """Those of this account, the newest first."""
        return [_submission(row) for row in _rows(self._run("submissions", self.competition, "-v", "-q"))]

    def leaderboard(self) -> list[float]:
        """The public scores, in the order of the places; empty where the board tells none."""
        with tempfile.TemporaryDirectory(prefix="gpu-kaggle-") as folder:
            self._run("leaderboard", self.competition, "--download", "-p", folder, "-q")
            boards = [board for file in sorted(Path(folder).iterdir()) for board in _tables(file)]
        rows = [row for board in boards for row in _rows(board)]
        return [score for row in rows if (score := _number(row.get("score"))) is not None]

    def download(self, name: str, file: Path, reporter: Reporter) -> None:
        """The whole archive of a competition. It goes on with what the client has left beside `file` before."""
        folder = file.with_name(file.name + ".kaggle")
        folder.mkdir(exist_ok=True)
        reporter.line(f"getting {name} through Kaggle's client")
        with reporter.progress("downloading", unit="B") as bar:
            self._run("download", name, "-p", str(folder), "-q", watch=lambda: bar.update(_size(folder)))
        archives = [each for each in folder.iterdir() if each.suffix != ".kaggle-partial"]
        if len(archives) != 1:
            raise GpuError(f"Kaggle's client brought {len(archives)} files of {name}, not its archive", "Try again")
        archives[0].replace(file)
        shutil.rmtree(folder)

    def sample(self, folder: Path) -> Path | None:
        """The competition's sample submission, brought into `folder`; None where it offers none."""
        listed = self._run("files", self.competition, "-v", "-q", "--page-size", "200")
        names = [row.get("name", "") for row in _rows(listed)]
        wanted = [name for name in names if re.match(r"sample_?submission\.csv", Path(name).name, re.IGNORECASE)]
        if not wanted:
            return None
        self._run("download", self.competition, "-f", wanted[0], "-p", str(folder), "-q")
        file = folder / Path(wanted[0]).name
        packed = file if file.exists() else file.with_name(file.name + ".zip")
        for text in _tables(packed) if packed.exists() else ():
            file.write_text(text)
            return file
        return None

    def _run(self, verb: str, *words: str, watch: Callable[[], None] | None = None) -> str:
        argv = [self.program, "competitions", verb, *words]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                with subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=kaggletoken.environment()
                ) as it:
                    code = _wait(it, None if watch else SECONDS, watch or (lambda: None))
            except OSError as error:
                raise GpuError(f"{self.program} cannot be run: {error.strerror}", "Install it again") from error
            said, complained = (_read(stream) for stream in (out, err))
        if code or "Authentication required" in said:
            raise self._failure(f"{said}\n{complained}")
        return said

    def _failure(self, words: str) -> GpuError:
        name = self.competition
        page = f"https://www.kaggle.com/c/{name}"
        if "Authentication required" in words or re.search(r"\b401\b", words):
            return GpuError("Kaggle does not accept the token that is here", f"It may have expired: {kaggletoken.HOW}")
        if re.search(r"\b403\b|\brules\b", words):
            return GpuError(f"Kaggle does not let this account into {name}", f"Accept the rules at {page}/rules")
        if re.search(r"\b404\b", words):
            return GpuError(f"Kaggle knows no competition {name}", "Take its name from its address on kaggle.com/c/")
        last = ([line for line in words.splitlines() if line.strip()] or ["it does not say why"])[-1]
        return GpuError(f"Kaggle's client failed: {kaggletoken.hidden(last)[:300].strip().rstrip('.')}", f"See {page}")


def _wait(it: subprocess.Popen[bytes], seconds: float | None, watch: Callable[[], None]) -> int:
    """Its exit code; it is ended with us."""
    until = None if seconds is None else time.monotonic() + seconds
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return it.wait(_LOOK_SECONDS)
            watch()
            if until is not None and time.monotonic() > until:
                raise GpuError(f"Kaggle's client did not end within {seconds:.0f} seconds", "Check the network")
    finally:
        if it.poll() is None:
            it.kill()
            it.wait()


def _read(stream: io.BufferedRandom) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _rows(text: str) -> list[dict[str, str]]:
    """The table of a CSV, its columns in small letters; what the client says before its header is left out."""
    lines = text.lstrip("\ufeff").splitlines()
    start = next((at for at, line in enumerate(lines) if re.match(r"[A-Za-z_]+(,[A-Za-z_]+)+\s*$", line)), len(lines))
    found = csv.DictReader(lines[start:])
    return [{str(key).lower(): str(value) for key, value in row.items()} for row in found]


def _tables(file: Path) -> list[str]:
    """The CSVs in a zip, or the file itself."""
    try:
        if not zipfile.is_zipfile(file):
            return [file.read_text(errors="replace")]
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(".csv")]
            return [archive.read(name).decode(errors="replace") for name in names]
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        raise GpuError(f"{file.name} from Kaggle cannot be read: {error}", "Try again") from error


def _submission(row: Mapping[str, str]) -> Submission:
    status = row.get("status", "").rpartition(".")[2].lower()
    facts = (row.get("ref", ""), row.get("date", ""), row.get("description", ""))
    return Submission(*facts, status, _number(row.get("publicscore")))


def _number(text: str | None) -> float | None:
    with suppress(TypeError, ValueError):
        value = float(text or "")
        return value if value == value else None
    return None
