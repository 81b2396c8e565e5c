"""An emulated machine stops by itself, through the whole chain: user data, first boot, timer, script, shutdown."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.providers.aws.userdata import user_data
from orchestrator.sandbox import sshd

from .conftest import Cloud, Instance, make_key, wait_until

PROGRAM = '"$GPU_ROOT/usr/local/bin/gpu-selfstop"'
HASTE = "set autostop=2 warn=1"
"""Two seconds of idleness, one of warning."""


@pytest.fixture(scope="module", autouse=True)
def tick() -> Iterator[None]:
    """The timer's minute lasts less than half a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPU_SANDBOX_TICK", "0.4")
        yield


class Machine(Instance):
    @property
    def disk(self) -> Path:
        return self.cloud.box / "instances" / self.id

    def selfstop(self, words: str) -> str:
        return self.ask(f"{PROGRAM} {words}")

    def facts(self) -> dict[str, Any]:
        """What the last tick published, read from outside: a login would be work for the machine."""
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads((self.disk / "home/gpu/selfstop/status.json").read_text()))
        return {}

    def reasons(self) -> list[str]:
        return list(self.facts().get("reasons", []))

    def looks_again(self) -> None:
        """Wait for three more looks: the last of them began after now."""
        state = self.disk / "run/gpu-selfstop/state"
        seen = {state.stat().st_mtime_ns}
        # Two writes a look, at its beginning and its end.
        wait_until(lambda: seen.add(state.stat().st_mtime_ns) or len(seen) > 6, "three more looks")


def machine(cloud: Cloud) -> Machine:
    host = cloud.folder / f"host-{time.monotonic_ns()}"
    public = make_key(host)
    data = user_data(host, public, port=2222, user="ubuntu", autostop=30, max_hours=24)
    [made] = cloud.ec2.run_instances(**cloud.wish(UserData=data, InstanceInitiatedShutdownBehavior="stop"))["Instances"]
    address = cloud.ec2.allocate_address(Domain="vpc")
    found = Machine(cloud, made["InstanceId"], address["PublicIp"], public)
    found.reach("running")
    cloud.ec2.associate_address(InstanceId=found.id, AllocationId=address["AllocationId"])
    wait_until(found.answers, "SSH answers")
    wait_until(lambda: found.facts().get("looked") is not None, "the first look")
    return found


def test_it_stops_when_idle_and_again_after_the_next_start(shared: Cloud) -> None:
    idle = machine(shared)
    assert idle.facts()["why"] == "idle for 30 minutes"
    idle.selfstop(HASTE)
    idle.reach("stopped")
    [reservation] = shared.ec2.describe_instances(InstanceIds=[idle.id])["Reservations"]
    assert reservation["Instances"][0]["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert "stopping: idle for 2 seconds" in (idle.disk / "log/gpu-selfstop.service.log").read_text()
    first = (idle.disk / "run/boot").read_text()
    shared.ec2.start_instances(InstanceIds=[idle.id])
    idle.reach("running")
    wait_until(lambda: (idle.disk / "run/boot").read_text() != first, "another boot")
    idle.reach("stopped")
    assert (idle.disk / "log/cloud-init-output.log").read_text() == ""


def test_a_run_and_a_keep_hold_it_and_it_stops_after_them(shared: Cloud) -> None:
    held = machine(shared)
    lock = "gpu/runs/20261123-120000-dogscats-ab12/lock"
    held.ask(f"mkdir -p {Path(lock).parent}; setsid flock --no-fork {lock} sleep 4711.5 >/dev/null 2>&1 </dev/null &")
    held.selfstop(HASTE)
    wait_until(lambda: held.reasons() == ["run 20261123-120000-dogscats-ab12"], "the run is seen")
    time.sleep(4)
    assert (held.state, held.facts()["idle"]) == ("running", 0)
    until = int(held.selfstop("keep +3600"))
    held.ask("pkill -fx 'sleep 4711.5'")
    wait_until(lambda: held.reasons() == [] and held.facts()["kept_until"], "the run has ended")
    time.sleep(4)
    assert (held.state, abs(held.facts()["kept_until"] - until) <= 2) == ("running", True)
    held.selfstop("keep off")
    held.reach("stopped")


@pytest.mark.skipif(not sshd.gives_terminals(), reason="/dev/pts is mounted so that only root's sshd gives terminals")
def test_terminals_keep_it_awake_and_are_warned(shared: Cloud) -> None:
    open_one = machine(shared)
    open_one.ask("tmux -L mine -f /dev/null new-session -d 'sleep 1000'")
    wait_until(lambda: "program sleep in a tmux pane" in open_one.reasons(), "the pane is seen")
    open_one.ask("tmux -L mine kill-server")
    ssh = ["ssh", "-tt", *open_one.options, open_one.ip]
    with subprocess.Popen(ssh, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as shell:
        assert shell.stdout
        wait_until(lambda: any("terminal (pts/" in one for one in open_one.reasons()), "the terminal is seen")
        open_one.selfstop("set autostop=2 warn=2")
        open_one.selfstop("deadline +1 the budget is spent")
        said = shell.stdout.read().decode()
    assert "*** This machine stops in" in said
    assert "the budget is spent. ***" in said
    open_one.reach("stopped")


def test_its_timer_is_shown_by_systemctl_and_names_no_folder(shared: Cloud) -> None:
    first = machine(shared)
    units = first.disk / "etc/systemd/system"
    for file in (units / "gpu-selfstop.timer", units / "gpu-selfstop.service", first.disk / "etc/gpu/selfstop.conf"):
        assert str(first.disk) not in file.read_text(), "its disk may be another instance's tomorrow"
    link = first.disk / "etc/systemd/system/timers.target.wants/gpu-selfstop.timer"
    assert not link.readlink().is_absolute()
    active = first.ask("systemctl is-active gpu-selfstop.timer; systemctl is-enabled gpu-selfstop.timer")
    assert active.split() == ["active", "enabled"]
    assert "gpu-selfstop.timer" in first.ask("systemctl list-timers")
    first.ask("sudo systemctl disable --now gpu-selfstop.timer")
    wait_until(lambda: first.run("systemctl is-active gpu-selfstop.timer").returncode == 3, "the timer has stopped")
