"""Broken probes, garbage and hostile files: none keeps the machine awake for ever, ends a run, or leads root astray."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import SCRIPT, Box, eventually

BROKEN = "#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n"


def test_a_broken_probe_makes_idleness_last_twice_as_long(box: Box) -> None:
    box.write("bin/nvidia-smi", BROKEN, mode=0o755)
    assert box.tick()["troubles"] == ["nvidia-smi does not answer"]
    box.seem_idle(700)
    facts = box.tick()
    assert facts["why"] == "idle for 20 minutes"
    assert box.done() == []
    box.seem_idle(1190)
    assert box.minutes(3) <= 2


def test_a_broken_probe_does_not_end_a_run(box: Box) -> None:
    box.write("bin/nvidia-smi", BROKEN, mode=0o755)
    box.start(f"exec flock {box.write('home/gpu/lock', '')} sleep 100")
    eventually(lambda: box.tick()["reasons"] == ["a run"])
    assert box.minutes(25) == 25
    assert box.done() == []


@pytest.mark.slow
def test_a_probe_that_hangs_is_given_up(box: Box) -> None:
    box.start(f"exec flock {box.write('home/gpu/lock', '')} sleep 100")
    eventually(lambda: box.tick()["reasons"] == ["a run"])
    box.write("bin/nvidia-smi", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n", mode=0o755)
    began = time.monotonic()
    facts = box.tick()
    assert time.monotonic() - began < 30
    assert (facts["reasons"], facts["troubles"]) == (["a run"], ["nvidia-smi does not answer"])


BROKEN_TOOLS = {"awk": ("the processes cannot be listed", ["a run"]), "flock": ("cannot be looked at", [])}


@pytest.mark.parametrize("tool", BROKEN_TOOLS)
def test_a_broken_tool_is_trouble_and_no_silence(box: Box, tool: str) -> None:
    box.start(f"exec flock {box.write('home/gpu/lock', '')} sleep 100")
    eventually(lambda: box.tick()["reasons"] == ["a run"])
    box.write(f"bin/{tool}", "#!/bin/sh\nexit 3\n", mode=0o755)
    assert box.call("tick").returncode == 0
    words, reasons = BROKEN_TOOLS[tool]
    facts = box.facts()
    assert any(words in trouble for trouble in facts["troubles"])
    assert facts["reasons"] == reasons


def test_a_jupyter_that_does_not_answer_is_trouble_and_a_dead_one_is_none(box: Box) -> None:
    runtime = "home/.local/share/jupyter/runtime"
    box.start(f"echo $$ >{box.root}/pid; exec sleep 100")
    eventually(lambda: (box.root / "pid").exists() and (box.root / "pid").read_text().strip())
    facts = {"pid": int((box.root / "pid").read_text()), "port": 1, "token": "x", "base_url": "/"}
    box.write(f"{runtime}/jpserver-1.json", json.dumps(facts))
    box.write(f"{runtime}/jpserver-2.json", json.dumps({**facts, "pid": 999999999}))
    box.write(f"{runtime}/jpserver-3.json", '{"port": "; touch x", "pid": $(touch x)')
    assert box.tick()["troubles"] == ["Jupyter at port 1 does not answer"]


GARBAGE = [
    "",
    "\n\n\n",
    "soon\n",
    "-5\n",
    "1e9\n",
    "99999999999999999999\n",
    "08 09 0a\n",
    "$(touch /x) `id`\n",
    "\0\x1b]0;x\a\n",
]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_every_file(box: Box, text: str) -> None:
    box.tick()
    for name in ("keep", "deadline", "settings"):
        box.write(f"home/gpu/selfstop/{name}", text)
    box.write("etc/gpu/selfstop.conf", f"AUTOSTOP={text}MAX={text}USER={text}{text}")
    box.state.write_text(f"boot={box.identity}\nlast={text}idle={text}open={text}looked={text}reason={text}")
    (box.state.with_name("cpu")).write_text(text)
    (box.state.with_name("network")).write_text(text)
    (box.wishes / "status.json").write_text(text)
    done = box.call("tick")
    assert done.returncode == 0
    facts = box.facts()
    assert (facts["autostop"], facts["max"]) == (1800, 86400), "what stops a machine is what stands in for garbage"
    assert (facts["kept_until"], facts["deadline"], facts["reasons"]) == (None, None, [])
    assert json.loads(box.call("status").stdout)["why"]


def test_a_boot_that_cannot_be_told_is_a_new_one(box: Box) -> None:
    for text in ("", "x", "one -", "one -12x 7", "one 0 0 0"):
        (box.root / "run/boot").write_text(text)
        assert box.call("tick").returncode == 0
        assert box.facts()["up"] > 0


def test_links_devices_and_giants_in_the_home(box: Box, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    box.wishes.mkdir()
    os.mkfifo(box.wishes / "keep")
    (box.wishes / "deadline").symlink_to("/dev/zero")
    with (box.wishes / "settings").open("wb") as giant:
        giant.truncate(1 << 40)
    (box.wishes / "status.json").symlink_to(precious)
    os.mkfifo(box.home / "gpu/lock")
    for number in range(150):
        (box.home / f"gpu/runs/{number:03}").mkdir(parents=True)
    (box.home / "gpu/runs/149/lock").symlink_to("/dev/tty")
    (box.home / "gpu/runs/148/lock").mkdir()
    box.start(f"exec flock {box.write('home/gpu/runs/147/lock', '')} sleep 100")
    began = time.monotonic()
    eventually(lambda: box.tick()["reasons"] == ["run 147"])
    assert time.monotonic() - began < 15
    assert precious.read_text() == "mine"
    assert not (box.wishes / "status.json").is_symlink()
    assert box.facts()["troubles"] == []


def test_a_home_that_takes_nothing(box: Box) -> None:
    """No status can be published; it stops all the same."""
    shutil.rmtree(box.home / "gpu")
    box.write("home/gpu", "a file where a folder should be")
    box.call("tick")
    box.seem_idle(700)
    for _ in range(3):
        box.later(60)
        assert box.call("tick").returncode == 0
    assert "shutdown -h now" in box.done()


def test_without_a_memory_the_longest_stay_still_ends(box: Box) -> None:
    box.write("run/gpu-selfstop", "a file where its folder should be")
    box.call("tick")
    assert box.done() == []
    box.later(90000)
    box.call("tick")
    assert box.done()[:1] == ["shutdown -h now"]


def test_names_from_outside_steer_no_terminal_and_break_no_json(box: Box) -> None:
    name = '20261123-120000-"\\\x1b[2J$(id)\n-ab12'
    folder = box.home / "gpu/runs" / name
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (box.root / "lock").symlink_to(folder / "lock")
    box.start(f"exec flock {box.root}/lock sleep 100")
    eventually(lambda: box.tick()["reasons"])
    [reason] = box.facts()["reasons"]
    assert reason.isascii() and reason.isprintable() and "20261123" in reason


def test_a_user_s_program_that_outlives_the_look_does_not_hold_the_next_one_up(box: Box) -> None:
    """What a look starts inherits no lock and no pipe that somebody waits for."""
    box.write("bin/nvidia-smi", "#!/bin/sh\nsetsid sleep 31.417 >/dev/null 2>&1 &\necho 0\n", mode=0o755)
    box.tick()
    before = box.state.read_text()
    box.later(60)
    box.tick()
    assert box.state.read_text() != before
    subprocess.run(["pkill", "-fx", "sleep 31.417"], check=False)


@pytest.fixture
def student() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="gpu-student-", dir="/tmp"))
    os.chown(home, 4711, 4711)
    yield home
    shutil.rmtree(home)


_AS_ON_A_REAL_MACHINE = """
set -e
mount -t tmpfs none /run
mount -t tmpfs none /etc
mkdir -p /etc/gpu
echo 'root:x:0:0::/root:/bin/bash' >/etc/passwd
echo "student:x:4711:4711::$1:/bin/bash" >>/etc/passwd
printf 'root:x:0:\\nstudent:x:4711:\\n' >/etc/group
printf 'USER=student\\nAUTOSTOP=600\\nMAX=0\\n' >/etc/gpu/selfstop.conf
chmod 755 /etc /etc/gpu
shift
exec bash "$@"
"""


@pytest.mark.skipif(
    os.getuid() != 0 or bool(os.system("unshare -m true 2>/dev/null")),
    reason="only root can take a user's place, and only a mount namespace keeps /etc and /run out of it",
)
def test_root_leaves_nothing_of_its_own_in_the_user_s_home(student: Path) -> None:
    outside = student / "of-root"
    outside.mkdir(mode=0o700)
    script = student / "selfstop.sh"
    shutil.copy(SCRIPT, script)
    line = ["unshare", "-m", "bash", "-c", _AS_ON_A_REAL_MACHINE, "bash", str(student), str(script)]

    def call(*words: str) -> int:
        environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
        return subprocess.run([*line, *words], env=environment, timeout=60, check=False).returncode

    assert call("tick") == 0
    assert call("keep", "+60") == 0
    status = student / "gpu/selfstop/status.json"
    assert json.loads(status.read_text())["autostop"] == 600
    assert "the look at the home folder did not end" not in status.read_text()
    assert (student / "gpu/selfstop/keep").exists()
    assert {path.stat().st_uid for path in (student / "gpu").rglob("*")} == {4711}
    # A folder of root's that the user points at is no place for root to write in.
    shutil.rmtree(student / "gpu/selfstop")
    (student / "gpu/selfstop").symlink_to(outside)
    assert call("tick") == 0
    assert call("keep", "+60") == 1
    assert list(outside.iterdir()) == []
