"""Where things are on this machine, and which boot of it this is."""

from __future__ import annotations

import os
from pathlib import Path

from trainer import run_folder

KERNEL_BOOT = Path("/proc/sys/kernel/random/boot_id")


def home() -> Path:
    return Path(os.environ.get("HOME") or Path.home())


def machine() -> run_folder.MachineFolder:
    return run_folder.MachineFolder(str(home()))


def folder_of(run_id: str) -> Path:
    return Path(machine().run(run_id))


def run_folders() -> list[Path]:
    """Every run's, oldest first."""
    runs = Path(machine().runs)
    return sorted(entry for entry in runs.iterdir() if run_folder.is_run(entry)) if runs.is_dir() else []


def boot_id() -> str:
    """Another one after every boot; empty where the system does not tell. An emulated machine has one of its own."""
    root = os.environ.get("GPU_ROOT")
    try:
        return (Path(root) / "run/boot" if root else KERNEL_BOOT).read_text().split()[0]
    except (OSError, IndexError):
        return ""


def requirements() -> str | None:
    """The SHA-256 of the packages that the user has asked for besides; None where there are none."""
    try:
        return (Path(machine().env) / run_folder.REQUIREMENTS).read_text().strip()[:64] or None
    except (OSError, UnicodeDecodeError):
        return None


def at_home(word: str) -> str:
    """`~/x` in a job's command is under this machine's home folder."""
    return f"{home()}/{word[2:]}" if word.startswith("~/") else word
