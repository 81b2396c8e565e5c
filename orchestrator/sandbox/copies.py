"""Copies of an instance's disk: into a snapshot, and from one into a new instance."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

FLEETING = ("run", "log")
"""Of a disk's folder: what is of one boot, and is in no snapshot."""
OWN = ("etc/ssh", "home/gpu/env")
"""What each instance makes anew at its first boot."""


def copy_disk(source: Path, target: Path) -> None:
    """Everything as it is, links and modes included; what vanishes meanwhile is left out."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    parts = [entry for entry in source.iterdir() if entry.name not in FLEETING] if source.exists() else []
    if parts:
        command = ["cp", "-a", "--reflink=auto", "--", *map(str, parts), str(target)]
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL)


def plant(copy: Path, root: Path) -> None:
    """Let a new instance's disk begin with `copy`."""
    copy_disk(copy, root)
    for name in OWN:
        own = root / name
        if own.is_symlink():
            own.unlink()
        else:
            shutil.rmtree(own, ignore_errors=True)
