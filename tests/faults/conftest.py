"""A person at a region of their own, which can be told to fail, and a bystander whose things must stay as they are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from orchestrator.sandbox import region
from orchestrator.sandbox.control import Control

from ..end_to_end.conftest import Evening, processes_of
from .census import Census, take

CREDENTIALS: dict[str, Any] = {
    "aws_access_key_id": "somebody",
    "aws_secret_access_key": "else",
    "region_name": "us-west-2",
}
DELAY = "0.1"
"""Seconds that a machine of the region takes to start or stop."""
MACHINE_SECONDS = "8"
"""How long `gpu` waits here for a machine that does not start."""


@dataclass(frozen=True)
class Blow:
    """A moment of a command: one of its API calls, as the region's log has it."""

    action: str
    earlier: int
    """Calls of the same action before it, in the same command."""

    def __str__(self) -> str:
        return f"{self.action}[{self.earlier}]"


@dataclass
class Person(Evening):
    """Types `gpu` and strikes at it."""

    home: Path = field(default_factory=Path)
    endpoint: str = ""
    others: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """What the bystander has."""

    @property
    def control(self) -> Control:
        return Control(self.endpoint)

    @property
    def ec2(self) -> Any:
        return boto3.client("ec2", endpoint_url=self.endpoint, **CREDENTIALS)

    @property
    def state_file(self) -> Path:
        return self.home / "state" / "sandbox.json"

    def census(self) -> Census:
        return take(self.ec2)

    def record(self, *words: str) -> list[Blow]:
        """Run the command undisturbed, and return those of its API calls that change something."""
        return self.log(*words)[1]

    def log(self, *words: str) -> tuple[list[Blow], list[Blow]]:
        """Run the command undisturbed, and return all of its API calls, and those of them that change something."""
        begun = len(self.control.calls())
        self.gpu(*words)
        calls = self.control.calls(after=begun)
        return blows(calls), blows([call for call in calls if call["changes"]])

    def strike(
        self, words: tuple[str, ...], blow: Blow, number: signal.Signals, *, when: str = "after", patience: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Send the signal while the call hangs, before or after it is carried out; returns how the command ended."""
        self.control.set("hold", action=blow.action, skip=blow.earlier, when=when, times=1)
        # Whoever runs the tests in the background has told all their children to ignore Ctrl-C.
        process = self.start(*words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        held = self.control.held(patience)
        assert held, f"gpu {' '.join(words)} never came to {blow}: {end_of(process)}"
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=patience)
        self.control.clear()
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def suffer(self, *words: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail; never for longer than so long."""
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as late:
            process.kill()
            raise AssertionError(f"gpu {' '.join(words)} went on for over {seconds} s:\n{end_of(process)}") from late
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def clean(self) -> None:
        """Everything removed, by `gpu destroy` alone, and nothing of others with it."""
        self.control.clear()
        self.gpu("destroy", "--abandon")
        census = self.census()
        assert census.ours == {}, census.ours
        assert census.others == self.others

    def forget(self) -> None:
        """The computer's own memory of it all is lost; the region goes on."""
        for path in (self.home / "state").iterdir():
            if path.name != "sandbox":
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def blows(calls: list[dict[str, Any]]) -> list[Blow]:
    seen: dict[str, int] = {}
    found = []
    for call in calls:
        found.append(Blow(call["action"], seen.get(call["action"], 0)))
        seen[call["action"]] = found[-1].earlier + 1
    return found


def end_of(process: subprocess.Popen[str]) -> str:
    process.kill()
    out, err = process.communicate()
    return f"{out}\n{err}"


def check_message(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The command ended with one message that names a remedy; returns it."""
    told = f"gpu {' '.join(done.args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == code, told
    assert "Traceback" not in done.stderr, told
    messages = [line for line in done.stderr.splitlines() if line.startswith("gpu: ")]
    assert len(messages) == 1 and done.stderr.endswith(messages[0] + "\n"), told
    what, _, remedy = messages[0].partition(". ")
    assert what and remedy and len(messages[0]) < 700, told
    return messages[0]


@pytest.fixture(scope="session")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A region with a bystander in it, for one test after the other."""
    folder = tmp_path_factory.mktemp("faults")
    patch = pytest.MonkeyPatch()
    patch.setenv("GPU_SANDBOX_DELAY", DELAY)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        patch.setenv(name, os.devnull)
    home = folder / "gpu"
    made = region.up(home / "state" / "sandbox", lambda _: None)
    person = Person(folder, home=home, endpoint=made.endpoint_url)
    allow_spot(made.endpoint_url)
    bystander(person.ec2)
    person.others = person.census().others
    yield person
    region.down(home / "state" / "sandbox", purge=True)
    patch.undo()
    assert processes_of(folder) == []


@pytest.fixture
def person(theatre: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    monkeypatch.setenv("GPU_HOME", str(theatre.home))
    monkeypatch.setenv("GPU_MACHINE_SECONDS", MACHINE_SECONDS)
    folder = tmp_path / "work"
    folder.mkdir()
    one = Person(folder, home=theatre.home, endpoint=theatre.endpoint, others=theatre.others)
    yield one
    one.control.clear()
    if one.census().ours:
        one.suffer("destroy", "--abandon")
    one.forget()
    (one.home / "config.yaml").unlink(missing_ok=True)


def allow_spot(endpoint: str) -> None:
    """The sandbox's account may have no P machine at the spot price until it has asked for that."""
    quotas = boto3.client("service-quotas", endpoint_url=endpoint, **CREDENTIALS)
    quotas.request_service_quota_increase(ServiceCode="ec2", QuotaCode="L-7212CCBC", DesiredValue=8)


def bystander(ec2: Any) -> None:
    """Somebody else in the same account, with the same things as ours but without our tags."""
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/28")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/28", AvailabilityZone="us-west-2c")["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    group = ec2.create_security_group(GroupName="gpu-sandbox", Description="another's", VpcId=vpc)["GroupId"]
    ec2.create_key_pair(KeyName="gpu-sandbox-of-another")
    image = ec2.describe_images(Owners=["amazon", "099720109477"])["Images"][0]["ImageId"]
    card = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "AssociatePublicIpAddress": False}
    [machine] = ec2.run_instances(
        ImageId=image, InstanceType="t3.nano", MinCount=1, MaxCount=1, NetworkInterfaces=[card]
    )["Instances"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    deadline = time.monotonic() + 30
    while not _runs(ec2, machine["InstanceId"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ec2.associate_address(AllocationId=address, InstanceId=machine["InstanceId"])


def _runs(ec2: Any, machine: str) -> bool:
    [found] = ec2.describe_instances(InstanceIds=[machine])["Reservations"]
    return bool(found["Instances"][0]["State"]["Name"] == "running")
