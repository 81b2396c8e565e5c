"""The machine's side of a run: start it, hold its locks, tell its state, follow its log, end it.

Standard library only, Python 3.8 or newer. It is sent beside the `trainer` package into `~/gpu/code/HASH/` and
run there as `gpu/env/bin/python gpu/code/HASH/agent.py VERB ...`. Answers are one JSON document on stdout.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from trainer import run_folder

EX_BUSY = 75
EX_BAD_JOB = 78
EX_NOT_FOUND = 127
POLL_SECONDS = 0.2
LOOK_SECONDS = 0.5
START_SECONDS = 15.0
GRACE_SECONDS = 10.0
TAIL_BYTES = 4096


def home() -> Path:
    return Path(os.environ.get("HOME") or Path.home())


def machine() -> run_folder.MachineFolder:
    return run_folder.MachineFolder(str(home()))


def folder_of(run_id: str) -> Path:
    return Path(machine().run(run_id))


# Locks: the kernel's, never a file's presence. What is written in one only says who, while it is held.


def take_lock(file: Path) -> int | None:
    """The descriptor that holds it, or None while somebody else does. Children inherit it and hold it too."""
    descriptor = os.open(str(file), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + LOOK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            # Whoever only looks whether it is held has it for a moment too.
            if time.monotonic() > until:
                os.close(descriptor)
                return None
            time.sleep(0.01)


def is_held(file: Path) -> bool:
    try:
        descriptor = os.open(str(file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # A shared lock: two who only look never take one another for a holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def sign(descriptor: int, facts: dict[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(facts).encode(), 0)


def read_facts(file: Path) -> dict[str, Any]:
    """A JSON object in a file; empty where there is none, or garbage."""
    try:
        facts = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def holder() -> str | None:
    """The run that has the machine; None while it is free."""
    lock = Path(machine().lock)
    return str(read_facts(lock).get("run_id") or "another program") if is_held(lock) else None


def write_whole(file: Path, content: bytes) -> None:
    """All of it or nothing of it, whatever is cut off in between."""
    new = file.with_name(file.name + ".new")
    with new.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
    parent = os.open(str(file.parent), os.O_RDONLY)
    os.fsync(parent)
    os.close(parent)


# What a run's state is follows from facts alone: the exit code's file, the lock, the folder's age.


def state_of(run: Path) -> dict[str, Any]:
    job = read_facts(run / run_folder.JOB)
    phase, code = phase_of(run)
    kept = {key: job.get(key) for key in ("data", "model", "sample", "note", "started", "asked_by")}
    return {"run_id": run.name, "state": phase, "exit_code": code, "last": last_line(run), **kept}


def phase_of(run: Path) -> tuple[str, int | None]:
    """`absent starting running finished failed lost`, and the exit code where there is one."""
    held = is_held(run / run_folder.LOCK)
    # Read after the lock: a wrapper writes its exit code before it lets go.
    code = exit_code_of(run)
    if code is not None:
        return ("failed" if code else "finished"), code
    if held:
        return "running", None
    try:
        age = time.time() - (run / run_folder.JOB).stat().st_mtime
    except FileNotFoundError:
        return ("lost" if run.is_dir() else "absent"), None
    never_began = not (run / run_folder.LOCK).exists()
    return ("starting" if never_began and age < START_SECONDS else "lost"), None


def exit_code_of(run: Path) -> int | None:
    try:
        return int((run / run_folder.EXIT_CODE).read_bytes())
    except (OSError, ValueError):
        return None


def last_line(run: Path) -> str:
    try:
        with (run / run_folder.LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            words = log.read().decode(errors="replace").replace("\r", "\n").split("\n")
    except OSError:
        return ""
    return next((word.strip()[:300] for word in reversed(words) if word.strip()), "")


# The wrapper: lives in tmux, outlives it if need be, and is the only one who writes `exit_code`.


class Wrapper:
    def __init__(self, run: Path) -> None:
        self.run = run
        self.trainer: subprocess.Popen[bytes] | None = None
        # O_APPEND, and given to the trainer itself: nothing stands between its words and the file.
        self.log = os.open(str(run / run_folder.LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def work(self) -> int:
        # A tmux server that is killed hangs the terminal up; the run goes on without one.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        lock = take_lock(self.run / run_folder.LOCK)
        if lock is None or exit_code_of(self.run) is not None:
            return EX_BUSY  # another wrapper's run, or one that has ended: not ours to write in
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        code = self._supervise(lock)
        os.fsync(self.log)
        write_whole(self.run / run_folder.EXIT_CODE, b"%d\n" % code)
        return code

    def _supervise(self, lock: int) -> int:
        whole = take_lock(Path(machine().lock))
        if whole is None:
            self._say(f"the machine is training already: {holder() or 'a run that just ended'}")
            return EX_BUSY
        sign(whole, {"run_id": self.run.name})
        command = read_facts(self.run / run_folder.JOB).get("command")
        if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
            self._say(f"{self.run / run_folder.JOB} holds no command")
            return EX_BAD_JOB
        try:
            self.trainer = self._start([at_home(word) for word in command], (lock, whole))
        except OSError as error:
            self._say(f"{command[0]} cannot be started: {error.strerror}")
            return EX_NOT_FOUND
        sign(lock, {"wrapper": os.getpid(), "trainer": self.trainer.pid})
        threading.Thread(target=self._mirror, daemon=True).start()
        return self._outlive(self.trainer)

    def _start(self, command: list[str], locks: tuple[int, int]) -> subprocess.Popen[bytes]:
        """In a session of its own: neither a hang-up nor a Ctrl-C meant for the wrapper reaches it by itself."""
        return subprocess.Popen(
            command,
            cwd=str(Path(__file__).resolve().parent),
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            pass_fds=locks,
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
        if self.trainer is not None:
            signal_group(self.trainer.pid, number)

    def _say(self, text: str) -> None:
        os.write(self.log, text.encode(errors="surrogateescape") + b"\n")

    def _mirror(self) -> None:
        """Show the log in the tmux window, for as long as there is one."""
        try:
            with (self.run / run_folder.LOG).open("rb") as log:
                while True:
                    piece = log.read(1 << 16)
                    if piece:
                        os.write(1, piece)
                    else:
                        time.sleep(POLL_SECONDS)
        except OSError:
            return


def at_home(word: str) -> str:
    """`~/x` in a job's command is under this machine's home folder."""
    return f"{home()}/{word[2:]}" if word.startswith("~/") else word


def signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


# Verbs.


def ready() -> dict[str, Any]:
    data = Path(machine().root) / "data"
    return {
        "tmux": shutil.which("tmux"),
        "rsync": shutil.which("rsync"),
        "python": platform.python_version(),
        "free_bytes": shutil.disk_usage(str(home())).free,
        "home": str(home()),
        "busy": holder(),
        "data": sorted(entry.name for entry in data.iterdir() if entry.is_dir()) if data.is_dir() else [],
    }


def start(run_id: str) -> dict[str, Any]:
    """Write the job that stdin holds and start its wrapper in tmux; safe to repeat after a lost answer."""
    job = json.loads(sys.stdin.buffer.read())
    run = folder_of(run_id)
    run.mkdir(parents=True, exist_ok=True)
    if phase_of(run)[0] in ("finished", "failed", "running"):
        return state_of(run)
    write_whole(run / run_folder.JOB, json.dumps(job, indent=1).encode() + b"\n")
    tmux = ["tmux", "-u", "-L", run_folder.TMUX_SOCKET, "-f", "/dev/null", "new-session", "-d", "-x", "200", "-y", "50"]
    wrapper = [sys.executable, str(Path(__file__).resolve()), "run", str(run)]
    begun = subprocess.run(
        [*tmux, "-s", run_folder.tmux_session(run_id), "--", *wrapper],
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    message = begun.stderr.decode(errors="replace").strip()
    if begun.returncode and "duplicate session" not in message:
        return {**state_of(run), "state": "lost", "last": f"tmux: {message}"}
    until = time.monotonic() + START_SECONDS
    while not has_begun(run) and time.monotonic() < until:
        time.sleep(0.05)
    return state_of(run)


def has_begun(run: Path) -> bool:
    """Its trainer is there, or it has ended already: a held lock alone may still turn out to be refused."""
    return exit_code_of(run) is not None or "trainer" in read_facts(run / run_folder.LOCK)


def jobs() -> list[dict[str, Any]]:
    runs = Path(machine().runs)
    folders = sorted(entry for entry in runs.iterdir() if is_run(entry)) if runs.is_dir() else []
    return [state_of(run) for run in folders]


def is_run(folder: Path) -> bool:
    try:
        run_folder.check_run_id(folder.name)
    except ValueError:
        return False
    return folder.is_dir()


def follow(run: Path, offset: int) -> None:
    """The log's bytes from `offset` on, until the run has ended and the log is drained, or nobody listens."""
    listener = select.poll()
    listener.register(1, 0)
    while True:
        ended = phase_of(run)[0] not in ("running", "starting")
        offset += send_log(run, offset)
        if ended or listener.poll(POLL_SECONDS * 1000):
            return


def send_log(run: Path, offset: int) -> int:
    sent = 0
    try:
        log = os.open(str(run / run_folder.LOG), os.O_RDONLY)
    except FileNotFoundError:
        return 0
    while True:
        piece = os.pread(log, 1 << 16, offset + sent)
        if not piece:
            os.close(log)
            return sent
        sent += len(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(1, view) :]


def tail(run: Path, lines: int) -> dict[str, Any]:
    log = run / run_folder.LOG
    words = log.read_bytes().decode(errors="replace").splitlines() if log.exists() else []
    return {"lines": words[-lines:]}


def cancel(run: Path) -> dict[str, Any]:
    """SIGTERM to all that the trainer started, then, after a grace, SIGKILL; nothing where it is not running."""
    lock = run / run_folder.LOCK
    asked = 0.0
    began = time.monotonic()
    while phase_of(run)[0] in ("running", "starting") and time.monotonic() - began < 2 * GRACE_SECONDS:
        group = read_facts(lock).get("trainer")
        if isinstance(group, int) and group > 1:
            if not asked:
                asked = time.monotonic()
                signal_group(group, signal.SIGTERM)
            elif time.monotonic() - asked > GRACE_SECONDS:
                signal_group(group, signal.SIGKILL)
        time.sleep(0.05)
    return state_of(run)


def manifest(folder: Path) -> None:
    """`SHA256 SIZE NAME` and a NUL for each regular file, names as the bytes that they are."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            name = os.fsencode(str(path.relative_to(folder)))
            sys.stdout.buffer.write(b"%s %d %s\0" % (digest(path).encode(), path.stat().st_size, name))


def digest(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            found.update(piece)
    return found.hexdigest()


def answer(document: object) -> int:
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


def main(argv: list[str]) -> int:
    verb, words = argv[0], argv[1:]
    if verb == "run":
        return Wrapper(Path(words[0])).work()
    if verb in ("ready", "jobs"):
        return answer(ready() if verb == "ready" else jobs())
    if verb == "start":
        return answer(start(words[0]))
    if verb == "manifest":
        manifest(Path(words[0]))
        return 0
    run = folder_of(words[0])
    if verb == "follow":
        follow(run, int(words[1]))
        return 0
    return answer(
        {"state": lambda: state_of(run), "cancel": lambda: cancel(run), "tail": lambda: tail(run, int(words[1]))}[
            verb
        ]()
    )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
