"""The wrapper: lives in tmux, outlives it if need be, and is the only one who writes `exit_code`."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from trainer import run_folder

from . import locks, mirror, places, turns
from .phases import exit_code_of
from .placement import Placement
from .processes import signal_group
from .records import read_facts, write_whole
from .vacancy import NoSuchGpu

EX_BUSY = 75
EX_BAD_JOB = 78
EX_NOT_FOUND = 127
TURN_SECONDS = 1.0


class Wrapper:
    def __init__(self, run: Path) -> None:
        self.run = run
        self.job = read_facts(run / run_folder.JOB)
        self.trainer: subprocess.Popen[bytes] | None = None
        self._placement = Placement(self.job)
        self._ended_by = 0
        # O_APPEND, and given to the trainer itself: nothing stands between its words and the file.
        self.log = os.open(str(run / run_folder.LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def work(self) -> int:
        # A tmux server that is killed hangs the terminal up; the run goes on without one.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        lock = locks.take(self.run / run_folder.LOCK)
        if lock is None or exit_code_of(self.run) is not None:
            return EX_BUSY  # another wrapper's run, or one that has ended: not ours to write in
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        self._sign(lock)
        mirror.show(self.run / run_folder.LOG)
        code = self._supervise(lock)
        os.fsync(self.log)
        write_whole(self.run / run_folder.EXIT_CODE, b"%d\n" % code)
        return code

    def _sign(self, lock: int, **facts: Any) -> None:
        attempt = read_facts(self.run / run_folder.BEGUN).get("attempt")
        locks.sign(lock, {"wrapper": os.getpid(), "attempt": attempt, **facts})

    def _supervise(self, lock: int) -> int:
        try:
            whole = self._turn(lock)
        except NoSuchGpu as error:
            self._say(". ".join(error.args))
            return EX_BAD_JOB
        if self._ended_by:
            return 128 + self._ended_by
        if whole is None:
            first = locks.holder() or next(iter(turns.waiting()), "a run that just ended")
            self._say(f"the machine is training already: {first}")
            return EX_BUSY
        locks.sign(whole, {"run_id": self.run.name})
        if self._placement.words:
            self._say(self._placement.words)
        return self._train((lock, whole))

    def _train(self, held: tuple[int, int]) -> int:
        """From the trainer's start to its end; it holds both locks for as long as it lives."""
        command = self.job.get("command")
        if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
            self._say(f"{self.run / run_folder.JOB} holds no command")
            return EX_BAD_JOB
        try:
            self.trainer = self._start([places.at_home(word) for word in command], held)
        except OSError as error:
            self._say(f"{command[0]} cannot be started: {error.strerror}")
            return EX_NOT_FOUND
        self._sign(held[0], trainer=self.trainer.pid)
        if self._ended_by:
            # It came in the moment between the last look and the trainer's start.
            signal_group(self.trainer.pid, self._ended_by)
        # It asks over HTTP, whose modules take a while to load: the trainer does not wait for them.
        from .guard import Guard

        threading.Thread(target=Guard(self.run, self.job, self.trainer.pid, self._say).watch, daemon=True).start()
        return self._outlive(self.trainer)

    def _turn(self, lock: int) -> int | None:
        """The machine's lock; None when it is not to be had, or when the run is ended while it waits."""
        queued = self.job.get("queue") is True
        told = None
        while not self._ended_by:
            # Who does not wait is refused as long as others do.
            others = turns.ahead(self.run, phases=("waiting", "starting") if queued else ("waiting",))
            whole = None if others else locks.take(Path(places.machine().lock))
            lack = self._placement.find() if whole is not None else ""
            if not lack and (whole is not None or not queued):
                return whole
            if whole is not None:
                # Its place in the line keeps those behind it from beginning.
                os.close(whole)
            if told != bool(lack):
                told = bool(lack)
                self._sign(lock, waiting=True)
                behind = ", ".join([*filter(None, [locks.holder()]), *others])
                self._say(f"waiting for a GPU: {lack}" if lack else f"waiting for its turn, behind {behind}")
            time.sleep(TURN_SECONDS)
        return None

    def _start(self, command: list[str], held: tuple[int, int]) -> subprocess.Popen[bytes]:
        """In a session of its own: neither a hang-up nor a Ctrl-C meant for the wrapper reaches it by itself."""
        return subprocess.Popen(
            command,
            cwd=str(Path(__file__).resolve().parent.parent),
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self._placement.environment},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            pass_fds=held,
            start_new_session=True,
        )

    @staticmethod
    def _outlive(trainer: subprocess.Popen[bytes]) -> int:
        os.waitid(os.P_PID, trainer.pid, os.WEXITED | os.WNOWAIT)
        # What it left behind would keep the machine's lock, and the GPU.
        signal_group(trainer.pid, signal.SIGKILL)
        code = trainer.wait()
        return 128 - code if code < 0 else code

    def _pass_on(self, number: int, _frame: Any) -> None:
        self._ended_by = self._ended_by or number
        if self.trainer is not None:
            signal_group(self.trainer.pid, number)

    def _say(self, text: str) -> None:
        os.write(self.log, text.encode(errors="surrogateescape") + b"\n")
