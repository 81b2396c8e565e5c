"""What of ours there is in every region, and whether the commands that the audit prints really remove it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Thread
from typing import Any

import awscli
import boto3
import pytest
from awscli.clidriver import create_clidriver
from werkzeug.serving import make_server

from orchestrator.cli.examination import audit_document, audit_lines
from orchestrator.providers.aws.audit import audit
from orchestrator.providers.aws.session import Session
from orchestrator.providers.aws.sights import LOOKS, Found
from orchestrator.providers.base import Item
from orchestrator.settings import Profile
from orchestrator.verbs.audit import report

from .conftest import CREDENTIALS

HOME, AWAY, CLOSED = "us-west-2", "eu-west-1", "eu-central-1"
AWS = Path(sys.executable).with_name("aws")


@dataclass
class Account:
    """One test's owner in the emulated account, and a bystander's hands."""

    endpoint: str
    front: str
    owner: str

    def client(self, region: str = HOME) -> Any:
        return boto3.client("ec2", endpoint_url=self.endpoint, **{**CREDENTIALS, "region_name": region})

    def tags(self, *resources: str, owner: str | None = None, **more: str) -> list[dict[str, Any]]:
        pairs = {"gpu:owner": owner or self.owner, "gpu:profile": "pro", **more}
        listed = [{"Key": key, "Value": value} for key, value in pairs.items()]
        return [{"ResourceType": resource, "Tags": listed} for resource in resources]

    def items(self, path: str = "/") -> list[Item]:
        profile = Profile("pro", emulated=True, region=HOME)
        return list(audit(Session(profile, self.front + path), self.owner))

    def network(self, owner: str | None = None) -> dict[str, str]:
        """Everything that a machine of ours has around it."""
        ec2, made = self.client(), {}
        made["vpc"] = ec2.create_vpc(CidrBlock="10.0.0.0/28", TagSpecifications=self.tags("vpc", owner=owner))["Vpc"][
            "VpcId"
        ]
        made["subnet"] = ec2.create_subnet(
            VpcId=made["vpc"], CidrBlock="10.0.0.0/28", TagSpecifications=self.tags("subnet", owner=owner)
        )["Subnet"]["SubnetId"]
        made["gateway"] = ec2.create_internet_gateway(TagSpecifications=self.tags("internet-gateway", owner=owner))[
            "InternetGateway"
        ]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=made["gateway"], VpcId=made["vpc"])
        made["table"] = ec2.create_route_table(
            VpcId=made["vpc"], TagSpecifications=self.tags("route-table", owner=owner)
        )["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=made["table"], SubnetId=made["subnet"])
        made["group"] = ec2.create_security_group(
            GroupName="gpu-pro",
            Description="x",
            VpcId=made["vpc"],
            TagSpecifications=self.tags("security-group", owner=owner),
        )["GroupId"]
        return made

    def machine(self, network: dict[str, str], instance_type: str = "p3.2xlarge", **more: Any) -> str:
        ec2 = self.client()
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]
        disk = {"VolumeSize": 100, "VolumeType": "gp3", "DeleteOnTermination": True}
        made = ec2.run_instances(
            ImageId=image["ImageId"],
            InstanceType=instance_type,
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": network["subnet"], "Groups": [network["group"]]}],
            BlockDeviceMappings=[{"DeviceName": image["RootDeviceName"], "Ebs": disk}],
            TagSpecifications=self.tags("instance", "volume", "network-interface"),
            **more,
        )
        return str(made["Instances"][0]["InstanceId"])

    def key(self, name: str, folder: Path) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        public = (folder / "key.pub").read_bytes().strip()
        self.client().import_key_pair(KeyName=name, PublicKeyMaterial=public, TagSpecifications=self.tags("key-pair"))


def by_sort(items: Iterable[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.resource, []).append(item)
    return found


@pytest.fixture(scope="module")
def front(emulator: str) -> Iterator[str]:
    """The same account with three regions enabled, of which /closed/ refuses one."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if environ["PATH_INFO"] == "/closed/" and f"/{CLOSED}/" in environ["HTTP_AUTHORIZATION"]:
            start_response("403 Forbidden", [("Content-Type", "text/xml")])
            return [b"<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors></Response>"]
        if b"Action=DescribeRegions" in body:
            body += "".join(f"&RegionName.{n}={name}" for n, name in enumerate((HOME, AWAY, CLOSED), 1)).encode()
        headers = {key[5:].replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_")}
        headers["Content-Type"] = environ["CONTENT_TYPE"]
        request = urllib.request.Request(emulator, data=body, headers=headers, method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            start_response("200 OK", [("Content-Type", "text/xml")])
            return [answer.read()]

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def account(emulator: str, front: str, tmp_path: Path) -> Account:
    return Account(emulator, front, f"123456789012/user/{os.getpid()}-{tmp_path.name}")


def test_nothing_is_nothing(account: Account) -> None:
    account.client().create_volume(Size=1, AvailabilityZone="us-west-2a")
    account.network(owner="123456789012/user/somebody-else")
    assert account.items() == []
    assert list(audit_lines(report([]), free=True)) == ["there is nothing of yours in any region"]


def test_every_sort_in_every_region_with_its_price(account: Account) -> None:
    made = account.network()
    machine = account.machine(made)
    # The emulator leaves the tags of a machine's own interface out.
    interface = account.client().create_network_interface(
        SubnetId=made["subnet"], TagSpecifications=account.tags("network-interface")
    )["NetworkInterface"]["NetworkInterfaceId"]
    away = account.client(AWAY)
    volume = away.create_volume(
        Size=50, VolumeType="gp3", AvailabilityZone=f"{AWAY}a", TagSpecifications=account.tags("volume")
    )["VolumeId"]
    away.create_snapshot(VolumeId=volume, TagSpecifications=account.tags("snapshot"))
    away.allocate_address(Domain="vpc", TagSpecifications=account.tags("elastic-ip"))
    found = by_sort(account.items())
    assert {sort: len(items) for sort, items in found.items()} == {
        **dict.fromkeys(("vpc", "subnet", "internet-gateway", "route-table", "security-group"), 1),
        **dict.fromkeys(("instance", "network-interface", "snapshot", "elastic-ip"), 1),
        "volume": 2,
    }
    assert found["instance"][0].id == machine
    assert found["instance"][0].per_month == pytest.approx(3.06 * 730)
    assert {item.region: item.per_month for item in found["volume"]} == {HOME: pytest.approx(8), AWAY: pytest.approx(4)}
    assert found["snapshot"][0].per_month == pytest.approx(2.5)
    assert found["elastic-ip"][0].per_month == pytest.approx(3.65)
    assert found["vpc"][0].per_month == 0
    assert {item.profile for items in found.values() for item in items} == {"pro"}
    left = {item.id for items in found.values() for item in items if item.orphaned}
    assert left == {volume, interface, found["snapshot"][0].id, found["elastic-ip"][0].id}


def test_a_stopped_machine_costs_its_disk_and_its_address(account: Account) -> None:
    machine = account.machine(account.network())
    address = account.client().allocate_address(Domain="vpc", TagSpecifications=account.tags("elastic-ip"))
    account.client().associate_address(InstanceId=machine, AllocationId=address["AllocationId"])
    account.client().stop_instances(InstanceIds=[machine])
    items = account.items()
    found = by_sort(items)
    assert found["instance"][0].per_month == 0
    assert found["instance"][0].about.startswith("p3.2xlarge, stopped since")
    assert machine in found["volume"][0].about
    assert machine in found["elastic-ip"][0].about
    assert report(items).per_month == pytest.approx(8 + 3.65)
    assert report(items).orphans == 0


def test_a_network_without_a_machine_was_left_behind(account: Account) -> None:
    machine = account.machine(account.network())
    account.client().terminate_instances(InstanceIds=[machine])
    items = account.items()
    assert {item.resource for item in items} == {
        *("vpc", "subnet", "internet-gateway", "route-table", "security-group"),
    }
    assert all(item.orphaned for item in items)


def test_a_type_without_a_price_is_said_to_be_unknown(account: Account) -> None:
    account.machine(account.network(), instance_type="x1.16xlarge")
    whole = report(account.items())
    assert whole.unknown == 1
    text = "\n".join(audit_lines(whole, free=False))
    assert "1 without a known price" in text
    assert audit_document(whole)["items"][0]["per_month"] is None


def test_a_spot_machine_is_not_unprotected_and_its_request_goes_first() -> None:
    """The bare emulator knows no spot machines: from EC2's words alone."""
    machine = {
        "InstanceId": "i-1",
        "InstanceType": "p3.2xlarge",
        "State": {"Name": "running"},
        "LaunchTime": datetime(2026, 11, 23, tzinfo=timezone.utc),
        "SpotInstanceRequestId": "sir-1",
    }
    request = {"SpotInstanceRequestId": "sir-1", "State": "active", "InstanceId": "i-1"}
    looks = {look.resource: look for look in LOOKS}
    found = Found(HOME, {"instance": [machine], "spot-request": [request]})
    sight = looks["instance"].see(found, machine)
    assert sight.per_month == pytest.approx(3.06 * 730)
    assert "at the price on demand" in sight.about
    assert [words[0] for words in sight.remove] == ["terminate-instances", "wait"]
    assert list(looks).index("spot-request") < list(looks).index("instance")
    assert not looks["spot-request"].see(found, request).orphaned
    assert looks["spot-request"].see(Found(HOME, {}), request).orphaned


def test_the_printed_commands_remove_all_of_it_and_nothing_else(
    account: Account, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.key("it's mine; really $(touch gone)", tmp_path)
    made = account.network()
    machine = account.machine(made, DisableApiTermination=True)
    address = account.client().allocate_address(Domain="vpc", TagSpecifications=account.tags("elastic-ip"))
    account.client().associate_address(InstanceId=machine, AllocationId=address["AllocationId"])
    image = account.client().describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    request = account.client().request_spot_instances(
        InstanceCount=1,
        LaunchSpecification={"ImageId": image, "InstanceType": "t2.micro", "SubnetId": made["subnet"]},
        TagSpecifications=account.tags("spot-instances-request"),
    )["SpotInstanceRequests"][0]
    foreign = account.network(owner="123456789012/user/somebody-else")
    volume = account.client().create_volume(
        Size=1, AvailabilityZone="us-west-2a", TagSpecifications=account.tags("volume")
    )["VolumeId"]
    account.client().create_snapshot(VolumeId=volume, TagSpecifications=account.tags("snapshot"))
    before = account.items()
    assert request["SpotInstanceRequestId"] in {item.id for item in before}
    environment = {"HOME": str(own_home), "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    monkeypatch.setenv("AWS_DATA_PATH", str(Path(awscli.__file__).with_name("data")))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for item in before:
        # A shell for the one with a name that somebody chose; the tool itself, in this process, for the rest.
        if item.resource == "key-pair":
            path = f"{AWS.parent}:{os.environ['PATH']}"
            subprocess.run(item.removal, shell=True, check=True, env={**environment, "PATH": path}, cwd=tmp_path)
        else:
            commands = [line for line in item.removal.split(" && ") if line]
            assert [create_clidriver().main(shlex.split(line)[1:]) for line in commands] == [0] * len(commands), item
    assert account.items() == []
    assert not (tmp_path / "gone").exists()
    assert account.client().describe_vpcs(VpcIds=[foreign["vpc"]])["Vpcs"]


def test_a_region_that_refuses_is_a_line_and_not_the_end(account: Account) -> None:
    account.client().allocate_address(Domain="vpc", TagSpecifications=account.tags("elastic-ip"))
    items = account.items("/closed/")
    refused = [item for item in items if item.resource == "region"]
    assert [item.id for item in refused] == [CLOSED]
    assert "permission ec2:DescribeTags" in refused[0].about
    assert refused[0].per_month is None
    assert len(items) == 2
    assert "price unknown  -: could not be looked at" in "\n".join(audit_lines(report(items), free=False))
