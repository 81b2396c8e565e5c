"""A region of the test's own, real AWS and SSH clients for it, and the certainty that nothing of it stays."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from orchestrator.sandbox import region

IMAGE_NAME = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"


def make_key(file: Path) -> str:
    """An ed25519 key pair made here; returns the public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file], check=True)
    return file.with_suffix(".pub").read_text().strip()


def wait_until(true: Any, what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def processes_of(folder: Path) -> dict[int, str]:
    """Every process that names `folder` in its command line or its environment, but for this one and its parents."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        try:
            command, environ = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in command + environ:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode()
    return found


@dataclass
class Instance:
    cloud: Cloud
    id: str
    ip: str
    host_key: str

    @property
    def state(self) -> str:
        [reservation] = self.cloud.ec2.describe_instances(InstanceIds=[self.id])["Reservations"]
        return str(reservation["Instances"][0]["State"]["Name"])

    def reach(self, state: str) -> None:
        wait_until(lambda: self.state == state, f"{self.id} {state}")

    @property
    def options(self) -> list[str]:
        known = self.cloud.folder / f"known-{self.id}"
        known.write_text(f"[{self.ip}]:2222 {self.host_key}\n")
        pairs = {
            "IdentityFile": self.cloud.key,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": known,
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "Port": 2222,
            "ConnectTimeout": 10,
        }
        return ["-F", "/dev/null", *(f"-o{name}={value}" for name, value in pairs.items())]

    def answers(self) -> bool:
        return self.run("true").returncode == 0

    def run(self, *command: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        host = f"{user}@{self.ip}" if user else self.ip
        return subprocess.run(
            ["ssh", *self.options, host, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
        )

    def ask(self, command: str) -> str:
        done = self.run(command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@dataclass
class Cloud:
    """One region with a key pair, and the clients to use it."""

    folder: Path
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = self.folder / "key"
        self.public = make_key(self.key)

    @property
    def box(self) -> Path:
        return self.folder / "box"

    @property
    def found(self) -> region.Region:
        there = region.find(self.box)
        assert there is not None
        return there

    def up(self) -> region.Region:
        found = region.up(self.box, self.said.append)
        self.ec2, self.ssm = (self.client(found, name) for name in ("ec2", "ssm"))
        if not self.ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": ["k"]}])["KeyPairs"]:
            self.ec2.import_key_pair(KeyName="k", PublicKeyMaterial=self.public.encode())
        return found

    def client(self, found: region.Region, name: str, *, attempts: int = 5, **more: Any) -> Any:
        """A client with more of botocore's settings; `attempts` at each call."""
        config = Config(retries={"mode": "standard", "total_max_attempts": attempts}, **more)
        session = boto3.session.Session(aws_access_key_id="any", aws_secret_access_key="thing", region_name="us-west-2")
        return session.client(name, endpoint_url=found.endpoint_url, config=config)

    def wish(self, **more: Any) -> dict[str, Any]:
        image = self.ssm.get_parameter(Name=IMAGE_NAME)["Parameter"]["Value"]
        subnet = self.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        card = {"DeviceIndex": 0, "SubnetId": subnet, "AssociatePublicIpAddress": False}
        basis = {"ImageId": image, "InstanceType": "t2.micro", "KeyName": "k", "MinCount": 1, "MaxCount": 1}
        return {**basis, "NetworkInterfaces": [card], **more}

    def machine(self, **more: Any) -> Instance:
        """A running instance with an elastic address and a host key made beforehand."""
        host = self.folder / f"host-{time.monotonic_ns()}"
        public = make_key(host)
        private = "".join(f"    {line}\n" for line in host.read_text().splitlines())
        data = f"#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n{private}"
        data += f"  ed25519_public: {public}\n"
        [made] = self.ec2.run_instances(**self.wish(UserData=data, **more))["Instances"]
        address = self.ec2.allocate_address(Domain="vpc")
        instance = Instance(self, made["InstanceId"], address["PublicIp"], public)
        instance.reach("running")
        self.ec2.associate_address(InstanceId=instance.id, AllocationId=address["AllocationId"])
        wait_until(instance.answers, "SSH answers")
        return instance


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A region that nobody else uses."""
    yield from _cloud(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A region for tests that look only at what they made themselves."""
    yield from _cloud(tmp_path_factory.mktemp("shared"))


def _cloud(folder: Path) -> Iterator[Cloud]:
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("GPU_SANDBOX_DELAY", "0.3")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("A_SECRET_OF_THE_DEVELOPER", "leaked")
    made = Cloud(folder)
    try:
        made.up()
        yield made
    finally:
        region.down(made.box)
        monkeypatch.undo()
    assert processes_of(made.box) == {}
