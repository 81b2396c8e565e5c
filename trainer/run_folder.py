"""The names of everything in a run, on the machine and at home. Standard library only: both sides import it."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

# What a run's folder holds. `exit_code` is written last on the machine, `verified.json` last at home.
JOB = "job.json"
LOCK = "lock"
LOG = "log.txt"
METRICS = "metrics.jsonl"
EXIT_CODE = "exit_code"
BEGUN = "begun.json"
"""Of the newest attempt: its number, its place in the queue and the machine's boot, written before its wrapper runs."""
INTERRUPTED = "interrupted.json"
"""Why the newest attempt was told to end before it was done: spot notice or budget."""
CHECKPOINT = "checkpoint.safetensors"
TUNING_CHECKPOINT = "tuning.safetensors"
WEIGHTS = "model.safetensors"
MODEL = "model.json"
SUBMISSION = "submission.csv"
REPORT = "report.html"
RESULT = "result.json"
MANIFEST = "manifest.json"
LOSS_PLOT = "loss.png"
CONFUSION_PLOT = "confusion.png"
RATES_PLOT = "rates.png"
ONNX = "model.onnx"
SUMS = "SHA256SUMS"
VERIFIED = "verified.json"

# In the environment: the SHA-256 of the user's requirements.txt that is installed in it (ami/provision.sh).
REQUIREMENTS = "requirements.sha256"

# A data set's folders.
TRAIN = "train"
VALID = "valid"
TEST = "test"
SAMPLE = "sample"
UNKNOWN = "unknown"
QUARANTINE = ".quarantine"

TMUX_SOCKET = "gpu"
NOTEBOOK_SESSION = "gpu-notebook"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
"""Pillow's names of what these suffixes may hold: nothing else is tried on bytes of unknown origin."""

_RUN_ID = re.compile(r"\d{8}-\d{6}-[A-Za-z0-9_.-]+-[0-9a-f]{4}")
_DATA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class MachineFolder:
    """`~/gpu` on the machine. Paths are relative to the home folder unless `home` is given."""

    def __init__(self, home: str = "") -> None:
        self.root = PurePosixPath(home) / "gpu"
        self.env = self.root / "env"
        self.python = self.env / "bin" / "python"
        self.lock = self.root / "lock"
        self.queue = self.root / "queue"
        self.cache = self.root / "cache"
        self.notebooks = self.root / "nbs"
        self.notebook = self.root / "notebook"
        self.selfstop = self.root / "selfstop"

    def data(self, name: str) -> PurePosixPath:
        return self.root / "data" / check_data_name(name)

    def code(self, digest: str) -> PurePosixPath:
        return self.root / "code" / digest

    @property
    def runs(self) -> PurePosixPath:
        return self.root / "runs"

    def run(self, run_id: str) -> PurePosixPath:
        return self.runs / check_run_id(run_id)


def new_run_id(data: str, now: datetime | None = None) -> str:
    """`YYYYMMDD-HHMMSS-NAME-xxxx` in UTC: sorts by time, and no two runs of one second collide."""
    moment = now or datetime.now(timezone.utc)
    return f"{moment:%Y%m%d-%H%M%S}-{check_data_name(data)}-{secrets.token_hex(2)}"


def check_run_id(run_id: str) -> str:
    """The id itself; ValueError unless it has the form that `new_run_id` makes."""
    if not _RUN_ID.fullmatch(run_id):
        raise ValueError(f"{run_id!r} is not the id of a run")
    return run_id


def is_run_id(name: str) -> bool:
    return _RUN_ID.fullmatch(name) is not None


def is_run(folder: Path) -> bool:
    """Whether it is the folder of a run, by its name."""
    return is_run_id(folder.name) and folder.is_dir()


def check_data_name(name: str) -> str:
    """The name itself; ValueError unless it is ASCII letters, digits, `_.-`, starting with a letter or digit."""
    if not _DATA_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a data set")
    return name


def tmux_session(run_id: str) -> str:
    """The run's session on the socket `TMUX_SOCKET`. tmux would take a dot as the start of a pane's number."""
    return "gpu-" + check_run_id(run_id).replace(".", "_")
