"""The keeper of Jupyter: lives in tmux, outlives it if need be, and clears away what only a running one needs."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from trainer import run_folder

from . import locks, mirror, places
from .notebook import clear
from .notes import Places
from .processes import signal_one
from .records import read_facts, write_facts

EX_BUSY = 75
SOCKET_BYTES = 100
"""A UNIX socket's path may have a few more, on every system."""
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")
"""Other letters mean something to ssh, which forwards the socket."""
TOKEN_BYTES = 24
CODE = Path(__file__).resolve().parents[1]
"""The folder that the trainer and this agent were sent to."""
STRANGE = re.compile(r"JUPYTER_.*|TMUX|TMUX_PANE|GPU_DATA")
"""What a login's start-up files may say of another Jupyter, and what is tmux's own."""


class Keeper:
    def __init__(self) -> None:
        self.here = Places()
        self.jupyter: subprocess.Popen[bytes] | None = None
        self._ended_by = 0

    def work(self) -> int:
        # A tmux server that is killed hangs the terminal up; Jupyter goes on without one.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        lock = locks.take(self.here.lock)
        if lock is None:
            return EX_BUSY
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        self.jupyter = self._start(lock, self._environment(self._prepare()))
        locks.sign(lock, {"keeper": os.getpid(), "jupyter": self.jupyter.pid})
        if self._ended_by:
            # It came in the moment between the last look and the start.
            signal_one(self.jupyter.pid, signal.SIGTERM)
        mirror.show(self.here.log)
        code = self.jupyter.wait()
        clear(self.here)
        return code

    def _prepare(self) -> dict[str, Any]:
        """Write down what only this user may read: the log, the configuration, which has the token, and the facts.

        Returns what is wished.
        """
        before = os.umask(0o077)
        try:
            if self.here.log.exists():
                self.here.log.replace(self.here.log.with_name("log-before.txt"))
            self.log = os.open(str(self.here.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            wish = read_facts(self.here.wish)
            self.here.wish.unlink(missing_ok=True)
            place, token = self._socket(), secrets.token_hex(TOKEN_BYTES)
            write_facts(self.here.configuration / "jupyter_server_config.json", self._configuration(place, token))
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            facts = {"socket": place, "token": token, "data": wish.get("data"), "code": CODE.name, "since": since}
            write_facts(self.here.facts, facts)
        finally:
            os.umask(before)
        return wish

    def _configuration(self, place: str, token: str) -> dict[str, Any]:
        server = {
            "sock": place,
            "sock_mode": "0600",
            "root_dir": str(self.here.notebooks),
            "open_browser": False,
            "allow_root": True,
            "allow_remote_access": False,
            "disable_check_xsrf": False,
        }
        return {
            "ServerApp": server,
            "IdentityProvider": {"token": token},
            "PasswordIdentityProvider": {"hashed_password": "", "allow_password_change": False},
        }

    def _socket(self) -> str:
        place = self.here.folder / "socket"
        if len(os.fsencode(str(place))) > SOCKET_BYTES or not PLAIN_PATH.fullmatch(str(place)):
            # Nobody else may enter this one either.
            place = Path(tempfile.mkdtemp(prefix="gpu-notebook-")) / "socket"
        place.unlink(missing_ok=True)
        return str(place)

    def _start(self, lock: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(places.home() / run_folder.MachineFolder().python), "-m", "notebook"],
            cwd=str(self.here.notebooks),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            # As long as it lives the lock is held, whatever becomes of its keeper.
            pass_fds=(lock,),
            start_new_session=True,
        )

    def _environment(self, wish: dict[str, Any]) -> dict[str, str]:
        """Of Jupyter and its kernels. Where it notes that it runs is where the machine's self-stop looks for it."""
        kept = {name: value for name, value in os.environ.items() if not STRANGE.fullmatch(name)}
        wished = wish.get("environment")
        return {
            **kept,
            **({str(name): str(value) for name, value in wished.items()} if isinstance(wished, dict) else {}),
            "PYTHONPATH": str(CODE),
            "JUPYTER_CONFIG_DIR": str(self.here.configuration),
            "JUPYTER_RUNTIME_DIR": str(places.home() / ".local/share/jupyter/runtime"),
            **({"GPU_DATA": str(wish["data"])} if wish.get("data") else {}),
        }

    def _pass_on(self, number: int, _frame: Any) -> None:
        self._ended_by = self._ended_by or number
        if self.jupyter is not None:
            signal_one(self.jupyter.pid, signal.SIGTERM)
