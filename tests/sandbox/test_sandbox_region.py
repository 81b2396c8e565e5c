"""The region's process: one, found again, missed when it was killed, and gone without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.errors import ToolMissing
from orchestrator.sandbox import region, sshd

from .conftest import Cloud, Instance, processes_of, wait_until

UP = """import sys, pathlib
from orchestrator.sandbox import region
print(region.up(pathlib.Path(sys.argv[1]), print).pid)"""


def _busy(cloud: Cloud) -> tuple[Instance, Path]:
    machine = cloud.machine()
    machine.ask(
        "tmux -L gpu new-session -d 'sleep 1000'; nohup setsid sh -c 'trap \"\" TERM; sleep 1003' >/dev/null 2>&1 &"
    )
    return machine, Path(machine.ask("echo $TMUX_TMPDIR"))


def test_two_at_once_start_one(tmp_path: Path) -> None:
    folder = tmp_path / "box"
    try:
        command = [sys.executable, "-c", UP, str(folder)]
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda _: subprocess.run(command, capture_output=True, text=True, check=True), "ab"))
        assert both[0].stdout == both[1].stdout
        found = region.find(folder)
        assert found is not None and str(found.pid) == both[0].stdout.strip()
        assert region.up(folder, print) == found
        assert os.getsid(found.pid) == found.pid
    finally:
        assert region.down(folder)
    assert region.find(folder) is None and not region.crashed(folder) and not region.down(folder)
    assert processes_of(folder) == {}


def test_down_leaves_no_process(cloud: Cloud) -> None:
    machine, temporary = _busy(cloud)
    assert region.down(cloud.box)
    assert processes_of(cloud.box) == {}
    assert not temporary.exists()
    assert (cloud.box / "instances" / machine.id / "home").is_dir()
    cloud.up()
    assert "starts empty" in cloud.said[-1]
    assert cloud.ec2.describe_instances()["Reservations"] == []
    region.down(cloud.box, purge=True)
    assert not cloud.box.exists()


def test_a_killed_region_takes_all_with_it_and_is_missed(cloud: Cloud) -> None:
    _, temporary = _busy(cloud)
    found = cloud.up()
    os.kill(found.pid, signal.SIGKILL)
    os.waitpid(found.pid, 0)
    assert region.crashed(cloud.box) and region.find(cloud.box) is None
    wait_until(lambda: processes_of(cloud.box) == {}, "everything has ended by itself")
    assert not temporary.exists()
    assert cloud.up().pid != found.pid
    assert "without warning" in cloud.said[-1]
    assert not region.crashed(cloud.box)


def test_what_outlived_its_supervisor_is_swept(cloud: Cloud) -> None:
    _, temporary = _busy(cloud)
    found = cloud.up()
    supervisors = [pid for pid, command in processes_of(cloud.box).items() if "sandbox.supervisor" in command]
    for pid in (found.pid, *supervisors):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(found.pid, 0)
    assert not region.down(cloud.box)
    assert processes_of(cloud.box) == {}
    assert not temporary.exists()


def test_a_stale_state_file_never_gets_a_stranger_killed(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        text = (
            f'{{"endpoint_url": "http://127.0.0.1:9", "pid": {stranger.pid}, "started": "2026-01-01T00:00:00+00:00"}}'
        )
        (tmp_path / "region.json").write_text(text)
        (tmp_path / "lock").touch()
        assert region.crashed(tmp_path) and region.find(tmp_path) is None
        assert not region.down(tmp_path)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_no_sshd_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sshd, "SYSTEM_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"sshd is not installed .* apt-get install openssh-server"):
        region.up(tmp_path / "box", print)
    assert not (tmp_path / "box").exists()


def test_the_client_imports_neither_moto_nor_boto3() -> None:
    check = (
        "import sys, orchestrator.sandbox.region; print([m for m in ('moto', 'boto3', 'flask') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout.strip() == "[]"
