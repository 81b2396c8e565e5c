"""Copies of an instance's disk: into a snapshot, and from one into a new instance."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

FLEETING = ("run", "log")
"""Of a disk's folder: what is of one boot, and is in no snapshot."""
OWN = ("etc/ssh/ssh_host_*", "etc/ssh/authorized_keys", "home/gpu/env")
"""What each instance makes anew at its first boot; shell patterns."""


class Copier:
    """Copies that can be broken off: a region that goes down leaves nobody who goes on writing."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def copy(self, source: Path, target: Path) -> None:
        """Everything as it is, links and modes included; what vanishes meanwhile is left out."""
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        parts = [entry for entry in source.iterdir() if entry.name not in FLEETING] if source.exists() else []
        if not parts:
            return
        with self._lock:
            if self._closed:
                return
            command = ["cp", "-a", "--reflink=auto", "--", *map(str, parts), str(target)]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            self._running.add(process)
        process.wait()
        with self._lock:
            self._running.discard(process)

    def plant(self, copy: Path, root: Path) -> None:
        """Let a new instance's disk begin with `copy`."""
        self.copy(copy, root)
        for own in [found for name in OWN for found in root.glob(name)]:
            if own.is_symlink() or own.is_file():
                own.unlink()
            else:
                shutil.rmtree(own, ignore_errors=True)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()
