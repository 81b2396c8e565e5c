"""The region's side of one instance: its disk and, while it runs, the supervisor process that owns all others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from . import processes
from .disk import Disk
from .supervisor import GRACE, POWERED_OFF

STOP_LIMIT = GRACE + 7
"""Seconds after which a supervisor that does not end is killed, and what it left is ended from here."""


class Machine:
    """One instance that has been booted at least once."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.address: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def boot(self) -> None:
        """Start the supervisor; sshd follows with the first address."""
        (self.disk.run / "control").unlink(missing_ok=True)
        with (self.disk.log / "supervisor.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.supervisor", str(self.disk.root)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment({"GPU_ROOT": str(self.disk.root)}),
            )
        self.address = None

    def listen(self, address: str | None) -> None:
        """Answer SSH at `address`, or nowhere; processes inside go on either way."""
        if self.running and address != self.address:
            self._tell(f"listen {address or '-'}")
            self.address = address

    def reboot(self) -> None:
        self._tell("reboot")

    def powered_off(self) -> bool:
        """True once, when the machine has ended by itself: shut down from inside, or its supervisor killed."""
        if self._process is None or (code := self._process.poll()) is None:
            return False
        if code != POWERED_OFF:
            self._end_orphans()
        self._forget()
        return True

    def ask_to_stop(self) -> None:
        """Closing its standard input is what tells the supervisor."""
        if self._process and self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def stop(self) -> None:
        """Return when no process of the machine is left."""
        self.ask_to_stop()
        if self._process is None:
            return
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._end_orphans()
        self._forget()

    def _tell(self, line: str) -> None:
        if self._process and self._process.stdin:
            try:
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                # It has just ended; powered_off() will say so.
                return

    def _end_orphans(self) -> None:
        end_of(self.disk.root)

    def _forget(self) -> None:
        self.ask_to_stop()
        self._process, self.address = None, None


def end_of(root: Path) -> None:
    """End every process that was started inside `root` and remove its short-lived folder, when no supervisor did."""
    marker = b"GPU_ROOT=" + os.fsencode(root)
    processes.end_all(lambda: processes.marked(marker), grace=GRACE)
    _remove_temporary(root)


def _remove_temporary(root: Path) -> None:
    note = root / "run/temporary"
    if note.exists():
        folder = Path(note.read_text())
        if folder.parent == Path("/tmp") and folder.name.startswith("gpu-"):
            shutil.rmtree(folder, ignore_errors=True)
        note.unlink(missing_ok=True)


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """What our own processes need of the environment, and nothing of the developer's: no credentials, no settings."""
    names = ("PATH", "PYTHONPATH", "GPU_SANDBOX_DELAY", "GPU_SANDBOX_TICK")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {"LANG": "C.UTF-8", **kept, **more}
