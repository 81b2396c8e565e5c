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

PROGRAM = '"$GPU_ROOT/usr/local/sbin/gpu-selfstop"'
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

    def ticks_on(self, count: int = 3) -> None:
        """Wait until it has looked so often again."""
        for _ in range(count):
            before = (self.disk / "run/gpu-selfstop/state").stat().st_mtime_ns
            state = self.disk / "run/gpu-selfstop/state"
            wait_until(lambda before=before: state.stat().st_mtime_ns != before, "another tick")  # type: ignore[misc]


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
    assert (idle.disk / "log/cloud-init-output.log").read_text().count("install") == 0
