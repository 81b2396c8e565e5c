"""One running instance: `python -m orchestrator.sandbox.supervisor DISK`, the parent of all its processes.

Standard input carries lines from the region, `listen ADDRESS` or `listen -`; its end means the instance shall stop (a
region that was killed ends it too). The FIFO `run/control` carries the words of the stand-ins inside. Exit code 0: told
to stop; `POWERED_OFF`: shut down from inside.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from . import firstboot, processes, records, sshd
from .disk import Disk
from .timers import Timers

POWERED_OFF = 3
GRACE = 3.0
"""Seconds that processes have between SIGTERM and SIGKILL."""
RETRY = 1.0
"""Seconds between two attempts at an sshd that ends by itself."""


class Supervisor:
    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        # A UNIX socket's path has about a hundred bytes: tmux needs a short folder.
        self.temporary = tempfile.mkdtemp(prefix="gpu-", dir="/tmp")
        (disk.run / "temporary").write_text(self.temporary)
        self.address: str | None = None
        self.sshd: subprocess.Popen[bytes] | None = None
        self.host_key: tuple[int, int] | None = None
        self.first_boot: subprocess.Popen[bytes] | None = None
        self.timers = Timers(disk, self.environment)
        self.next_try = 0.0
        self.lines = b""
        self.outcome: int | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of the machine's own programs, which on a real one would be root's."""
        return {
            "PATH": f"{self.disk.standins}:{sshd.SYSTEM_PATH}",
            "LANG": "C.UTF-8",
            "GPU_ROOT": str(self.disk.root),
            "TMPDIR": self.temporary,
        }

    def serve(self) -> int:
        """Until told to stop; returns the exit code."""
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self.disk.control, 0o600)
        # Read and write: a FIFO whose last writer has gone would report its end for ever.
        control = os.open(self.disk.control, os.O_RDWR | os.O_NONBLOCK)
        with selectors.DefaultSelector() as waiting:
            waiting.register(0, selectors.EVENT_READ, self._from_region)
            waiting.register(control, selectors.EVENT_READ, self._from_inside)
            self._boot()
            while self.outcome is None:
                self._keep_sshd()
                self.timers.step()
                for key, _ in waiting.select(timeout=0.2):
                    key.data(key.fd)
                self._reap()
        self._end_processes()
        return self.outcome

    def close(self) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)
        (self.disk.run / "temporary").unlink(missing_ok=True)

    def _from_region(self, fd: int) -> None:
        data = os.read(fd, 4096)
        if not data:
            self.outcome = 0
        *lines, self.lines = (self.lines + data).split(b"\n")
        for line in lines:
            word, _, rest = line.decode().partition(" ")
            if word == "listen":
                self._listen(None if rest == "-" else rest)
            elif word == "reboot":
                self._reboot()

    def _from_inside(self, fd: int) -> None:
        for line in os.read(fd, 4096).decode(errors="replace").splitlines():
            verb, _, unit = line.partition(" ")
            if verb == "poweroff":
                self.outcome = POWERED_OFF
            elif verb == "reboot":
                self._reboot()
            elif verb == "sshd" and self.host_key != self._host_key():
                # The rest of its configuration is ours: without a new key there is nothing to restart for.
                self._listen(self.address)
            elif unit:
                self.timers.obey(verb, unit)

    def _boot(self) -> None:
        """What a machine does by itself when it is switched on, beside its sshd."""
        # A pid of an earlier boot may be anybody's by now.
        (self.disk.run / "shutdown.pid").unlink(missing_ok=True)
        uptime = Path("/proc/uptime").read_text().split()[0].replace(".", "")
        self.disk.boot.write_text(f"{uuid.uuid4()} {uptime} {os.getpid()}\n")
        self.timers.boot()
        if script := firstboot.script(self.disk):
            with (self.disk.log / "cloud-init-output.log").open("ab") as log:
                self.first_boot = subprocess.Popen(
                    ["/bin/sh", str(script)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.disk.root,
                    env=self.environment,
                    start_new_session=True,
                    preexec_fn=processes.die_with_parent,
                )

    def _host_key(self) -> tuple[int, int] | None:
        """Another one when the file is another one."""
        with contextlib.suppress(OSError):
            found = self.disk.host_key.stat()
            return found.st_ino, found.st_mtime_ns
        return None

    def _listen(self, address: str | None) -> None:
        """Only the listener is replaced: sessions that are open stay open, as when a machine's address changes."""
        if self.sshd and self.sshd.poll() is None:
            self.sshd.terminate()
            self.sshd.wait()
        self.sshd, self.address, self.next_try = None, address, 0.0

    def _keep_sshd(self) -> None:
        if self.address is None or self.sshd is not None or time.monotonic() < self.next_try:
            return
        self.next_try = time.monotonic() + RETRY
        self.host_key = self._host_key()
        command = sshd.configure(self.disk, self.address, self.temporary)
        with (self.disk.log / "sshd.log").open("ab") as log:
            self.sshd = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.disk.root,
                env={"PATH": sshd.SYSTEM_PATH, "LANG": "C.UTF-8", "GPU_ROOT": str(self.disk.root)},
                preexec_fn=processes.die_with_parent,
            )

    def _reap(self) -> None:
        ours = [one for one in (self.sshd, self.first_boot, *self.timers.processes) if one]
        for process in ours:
            process.poll()
        if self.sshd and self.sshd.returncode is not None:
            self.sshd = None
        if self.first_boot and self.first_boot.returncode is not None:
            self.first_boot = None
            firstboot.finish(self.disk)
        # Not waitpid(-1) as long as these are ours: their exit codes belong to Popen.
        kept = {process.pid for process in ours}
        for pid in _ended_children():
            if pid not in kept:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _reboot(self) -> None:
        self._end_processes()
        self._boot()
        self._listen(self.address)

    def _end_processes(self) -> None:
        processes.end_all(lambda: processes.descendants(os.getpid()), grace=GRACE)


def _ended_children() -> list[int]:
    """Children that are zombies, without collecting them."""
    found = []
    with contextlib.suppress(ChildProcessError):
        if ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            found.append(ended.si_pid)
    return found


def main(root: Path) -> int:
    processes.become_subreaper()
    records.keep_out()
    # The region ends it through standard input; a signal to the whole group must not end it before its processes.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    supervisor = Supervisor(Disk(root))
    try:
        return supervisor.serve()
    finally:
        supervisor.close()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
