"""What keeps a machine awake, each by the real thing, and what only looks like it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.remote import link
from orchestrator.remote.agent.notebook import KEEPER

from .conftest import SCRIPT, Box, eventually

RUN = "20261123-120000-dogscats-ab12"

_TERMINAL = """
import ctypes, os, pty, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[1].encode())
pid, master = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
while True:
    os.read(master, 1000)
"""
"""A process of a certain name with a child on a terminal, as sshd has one."""

_JUPYTER = """
import http.server, json, os, pathlib, socket, sys
state, last, runtime, place = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.headers["Authorization"] == "token s3cret" and self.path == "/lab/api/kernels"
        self.send_response(200 if good else 403)
        self.end_headers()
        self.wfile.write(json.dumps([{"id": "x", "execution_state": state, "last_activity": last}]).encode())
    def log_message(self, *_): pass
class Near(http.server.HTTPServer):
    address_family = socket.AF_UNIX
    def server_bind(self):
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 0
    def get_request(self):
        return self.socket.accept()[0], ("", 0)
server = Near(place, Handler) if place else http.server.HTTPServer(("127.0.0.1", 0), Handler)
facts = {"base_url": "/lab/", "hostname": "localhost", "password": False, "pid": os.getpid(),
         "port": server.server_port, "secure": False, "sock": place, "token": "s3cret", "version": "2.14"}
file = pathlib.Path(runtime) / f"jpserver-{os.getpid()}.json"
file.parent.mkdir(parents=True, exist_ok=True)
file.write_text(json.dumps(facts, indent=2, sort_keys=True))
server.serve_forever()
"""

_PUMP = """
import socket
here, there = socket.create_server(("127.0.0.1", 0)), socket.socket()
there.connect(here.getsockname())
other, _ = here.accept()
while True:
    there.sendall(bytes(50_000)); other.recv(1 << 20)
"""


def _run(box: Box) -> None:
    box.start(f"exec flock {box.write(f'home/gpu/runs/{RUN}/lock', '')} sleep 100")


def _whole_machine(box: Box) -> None:
    box.start(f"exec flock {box.write('home/gpu/lock', '')} sleep 100")


def _pane(line: str) -> Callable[[Box], None]:
    def start(box: Box) -> None:
        box.write("wait.sh", "while read -r word; do echo; done\n")
        box.start(f"cd {box.root} && tmux -L other -f /dev/null new-session -d {line}")

    return start


def _terminal(name: str) -> Callable[[Box], None]:
    def start(box: Box) -> None:
        program = box.write("terminal.py", _TERMINAL)
        box.start(f"exec {sys.executable} {program} {name} bash --norc")

    return start


def _called(name: str) -> Callable[[Box], None]:
    def start(box: Box) -> None:
        shutil.copy(shutil.which("sleep") or "/bin/sleep", box.root / "bin" / name)
        box.start(f"exec {box.root}/bin/{name} 100")

    return start


def _far_end(box: Box) -> None:
    box.start(f"exec {sys.executable} -I -S -X utf8 -c 'import time; time.sleep(100)' {link.NAME}")


def _jupyter(state: str, ago: int, *, near: bool = False) -> Callable[[Box], None]:
    def start(box: Box) -> None:
        last = time.strftime("%Y-%m-%dT%H:%M:%S.123456Z", time.gmtime(time.time() - ago))
        server = box.write("jupyter.py", _JUPYTER)
        runtime, place = box.home / ".local/share/jupyter/runtime", box.root / "jupyter" if near else ""
        box.start(f"exec {sys.executable} {server} {state} {last} {runtime} '{place}'")

    return start


def _keeper(box: Box) -> None:
    """Of a notebook, as `gpu notebook` starts it in tmux."""
    box.write("agent/__main__.py", "import time\ntime.sleep(100)\n")
    line = f"{sys.executable} -m agent keep {KEEPER}"
    box.start(f"cd {box.root} && tmux -L gpu -f /dev/null new-session -d -s gpu-notebook '{line}'")


def _graphics(answer: str) -> Callable[[Box], None]:
    def start(box: Box) -> None:
        box.write("bin/nvidia-smi", f"#!/bin/sh\necho '{answer}'\n", mode=0o755)

    return start


def _work(box: Box) -> None:
    box.start("while :; do :; done")


def _traffic(box: Box) -> None:
    box.start(f"exec {sys.executable} {box.write('pump.py', _PUMP)}")


REASONS = {
    "run": (_run, f"run {RUN}"),
    "machine's lock": (_whole_machine, "a run"),
    "tmux program": (_pane("'sleep 100'"), "program sleep in a tmux pane"),
    "tmux typed": (_pane("bash --norc \\; send-keys 'sleep 100' Enter"), "program sleep in a tmux pane"),
    "tmux script": (_pane("'bash ./wait.sh'"), "script ./wait.sh in a tmux pane"),
    "terminal": (_terminal("sshd"), "an SSH session with a terminal (pts/"),
    "terminal of newer OpenSSH": (_terminal("sshd-session"), "an SSH session with a terminal (pts/"),
    "rsync": (_called("rsync"), "a sync (rsync)"),
    "sftp": (_called("sftp-server"), "a sync (sftp-server)"),
    "tar": (_called("tar"), "a sync (tar)"),
    "far end": (_far_end, "a sync (gpu)"),
    "busy kernel": (_jupyter("busy", 9999), ", busy"),
    "kernel used": (_jupyter("idle", 30), ", used just now"),
    "busy kernel at a socket": (_jupyter("busy", 9999, near=True), "Jupyter kernel at its socket, busy"),
    "kernel used at a socket": (_jupyter("idle", 30, near=True), "Jupyter kernel at its socket, used just now"),
    "tmux python": (_pane(f"'{sys.executable} -c \"import time; time.sleep(100)\"'"), "program python"),
    "graphics": (_graphics("3\\n87"), "GPU at 87 %"),
    "processor": (_work, "CPU at "),
    "network": (_traffic, "network at "),
}


@pytest.mark.parametrize("start, words", REASONS.values(), ids=REASONS.keys())
def test_a_reason_to_be_awake(box: Box, start: Callable[[Box], None], words: str) -> None:
    box.tick()
    box.seem_idle(500)
    start(box)
    eventually(lambda: any(words in reason for reason in box.tick()["reasons"]))
    facts = box.facts()
    assert facts["idle"] == 0
    assert facts["troubles"] == []
    assert facts["why"] == "it has run for 24 hours"


IDLE = {
    "shell in tmux": _pane("bash --norc"),
    "shell in a shell in tmux": _pane("bash --norc \\; send-keys 'bash --norc -i' Enter"),
    "terminal of something else": _terminal("agetty"),
    "kernel long idle": _jupyter("idle", 300),
    "kernel long idle at a socket": _jupyter("idle", 300, near=True),
    "kernel that nobody has used": _jupyter("starting", 300, near=True),
    "keeper of a notebook": _keeper,
    "idle graphics": _graphics("0"),
    "graphics that cannot tell": _graphics("[N/A]"),
    "sleeper": _called("sleeper"),
    "nothing": lambda _box: None,
}


@pytest.mark.parametrize("start", IDLE.values(), ids=IDLE.keys())
def test_no_reason_to_be_awake(box: Box, start: Callable[[Box], None]) -> None:
    box.write(f"home/gpu/runs/{RUN}/lock", "held? no: a file's presence says nothing")
    box.tick()
    start(box)
    time.sleep(0.7)
    # What starting took is no work of the minute that follows.
    box.tick()
    box.seem_idle(500)
    box.later(60)
    facts = box.tick()
    assert (facts["reasons"], facts["troubles"]) == ([], [])
    assert facts["idle"] >= 560


def test_a_run_that_has_ended_is_no_reason(box: Box) -> None:
    lock = box.write(f"home/gpu/runs/{RUN}/lock", "")
    box.start(f"echo $$ >{box.root}/pid; exec flock --no-fork {lock} sleep 100")
    eventually(lambda: box.tick()["reasons"] == [f"run {RUN}"])
    os.kill(int((box.root / "pid").read_text()), signal.SIGKILL)
    eventually(lambda: box.tick()["reasons"] == [])


def test_only_processes_below_the_machine_s_own_first_one_are_its_own(box: Box) -> None:
    _work(box)
    _traffic(box)
    _called("rsync")(box)
    eventually(lambda: len(box.tick()["reasons"]) == 3)
    # The same processes, seen from a machine that began with another one.
    stranger = subprocess.Popen(["sleep", "100"])
    try:
        box.write("run/boot", f"one {box.booted} {stranger.pid}\n")
        box.tick()
        assert box.tick()["reasons"] == []
    finally:
        stranger.kill()
        stranger.wait()


def test_interfaces_are_what_counts_on_a_real_machine() -> None:
    line = '. "$1"; root=; traffic'
    done = subprocess.run(["bash", "-c", line, "test", str(SCRIPT)], capture_output=True, text=True, check=False)
    names = [line.split()[0] for line in done.stdout.splitlines()]
    listed = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
    assert set(names) == listed - {"lo"}
    assert all(line.split()[1].isdigit() for line in done.stdout.splitlines())
