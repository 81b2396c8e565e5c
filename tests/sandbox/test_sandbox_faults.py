"""Every fault that can be rehearsed, as a real client meets it."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.exceptions
import pytest

from orchestrator.errors import GpuError, UsageError
from orchestrator.sandbox import region
from orchestrator.sandbox.control import Control
from orchestrator.sandbox.rehearsals import REHEARSALS

from .conftest import Cloud, Instance, wait_until


@pytest.fixture
def control(shared: Cloud) -> Iterator[Control]:
    """The shared region's switches; every fault is cleared afterwards."""
    made = Control(shared.found.endpoint_url)
    yield made
    made.clear()


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, int]:
    with pytest.raises(botocore.exceptions.ClientError) as refusal:
        call(**arguments)
    response = refusal.value.response
    return str(response["Error"]["Code"]), int(response["ResponseMetadata"]["HTTPStatusCode"])


def impatient(cloud: Cloud, name: str = "ec2") -> Any:
    """A client that does not try again by itself."""
    return cloud.client(cloud.found, name, attempts=1)


def running(cloud: Cloud, **more: Any) -> Instance:
    [made] = cloud.ec2.run_instances(**cloud.wish(**more))["Instances"]
    machine = Instance(cloud, made["InstanceId"], "", "")
    machine.reach("running")
    return machine


def test_every_call_is_logged_in_order(shared: Cloud, control: Control) -> None:
    before = len(control.calls())
    shared.ec2.create_vpc(CidrBlock="10.0.0.0/28")
    shared.ec2.describe_vpcs()
    refused(shared.ec2.delete_vpc, VpcId="vpc-00000000000000000")
    shared.client(shared.found, "sts").get_caller_identity()
    refused(shared.ec2.create_vpc, CidrBlock="10.0.0.0/28", DryRun=True)
    entries = control.calls(before)
    assert [entry["n"] for entry in entries] == [before + n for n in range(1, 6)]
    assert [(e["service"], e["action"], e["changes"], e["outcome"]) for e in entries] == [
        ("ec2", "CreateVpc", True, "ok"),
        ("ec2", "DescribeVpcs", False, "ok"),
        ("ec2", "DeleteVpc", True, "InvalidVpcID.NotFound"),
        ("sts", "GetCallerIdentity", False, "ok"),
        ("ec2", "CreateVpc", False, "DryRunOperation"),
    ]
    assert {entry["region"] for entry in entries} == {"us-west-2"}
    lines = (shared.box / "calls.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines[-5:]] == entries


def test_a_lost_reply_was_carried_out(shared: Cloud, control: Control) -> None:
    gateways = len(shared.ec2.describe_internet_gateways()["InternetGateways"])
    control.set("reply-lost", action="CreateInternetGateway", times=1)
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        impatient(shared).create_internet_gateway()
    assert control.calls()[-1]["outcome"] == "lost"
    assert len(shared.ec2.describe_internet_gateways()["InternetGateways"]) == gateways + 1
    shared.ec2.create_internet_gateway()


def test_a_lost_reply_strikes_what_changes_something(shared: Cloud, control: Control) -> None:
    control.set("reply-lost")
    shared.ec2.describe_vpcs()
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        impatient(shared).create_internet_gateway()


def test_throttling_passes_or_does_not(shared: Cloud, control: Control) -> None:
    control.set("throttle", times=2)
    ec2 = impatient(shared)
    assert [refused(ec2.describe_vpcs) for _ in "ab"] == [("RequestLimitExceeded", 503)] * 2
    assert ec2.describe_vpcs()["Vpcs"]
    assert control.faults() == []
    control.set("throttle")
    assert refused(ec2.describe_vpcs) == ("RequestLimitExceeded", 503)
    assert refused(impatient(shared, "ssm").get_parameter, Name="x") == ("ThrottlingException", 400)
    assert refused(impatient(shared, "sts").get_caller_identity) == ("Throttling", 400)
    assert [fault["struck"] for fault in control.faults()] == [3]


def test_no_capacity_by_zone_and_type(shared: Cloud, control: Control) -> None:
    machine = running(shared)
    shared.ec2.stop_instances(InstanceIds=[machine.id])
    machine.reach("stopped")
    ec2 = impatient(shared)
    control.set("no-capacity", zone="us-west-2a", type="t2.*")
    wish = shared.wish(InstanceType="t2.micro")
    assert refused(ec2.run_instances, **wish) == ("InsufficientInstanceCapacity", 500)
    assert refused(ec2.start_instances, InstanceIds=[machine.id]) == ("InsufficientInstanceCapacity", 500)
    running(shared, InstanceType="t3.micro")
    [elsewhere] = shared.ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-west-2b"]}])[
        "Subnets"
    ]
    wish["NetworkInterfaces"][0]["SubnetId"] = elsewhere["SubnetId"]
    ec2.run_instances(**wish)


def test_the_quota_is_used_up(shared: Cloud, control: Control) -> None:
    control.set("vcpu-limit", type="g4dn.xlarge")
    ec2, spot = impatient(shared), {"MarketType": "spot"}
    assert refused(ec2.run_instances, **shared.wish(InstanceType="g4dn.xlarge")) == ("VcpuLimitExceeded", 400)
    wish = shared.wish(InstanceType="g4dn.xlarge", InstanceMarketOptions=spot)
    assert refused(ec2.run_instances, **wish) == ("MaxSpotInstanceCountExceeded", 400)
    running(shared)


def test_permission_denied_at_one_action(shared: Cloud, control: Control) -> None:
    control.set("denied", action="CreateVpc")
    control.set("denied", action="GetParameter*")
    assert refused(shared.ec2.create_vpc, CidrBlock="10.0.0.0/28") == ("UnauthorizedOperation", 403)
    assert refused(shared.ssm.get_parameter, Name="x") == ("AccessDeniedException", 400)
    shared.ec2.create_internet_gateway()
    control.set("denied")
    assert refused(shared.ec2.describe_vpcs) == ("UnauthorizedOperation", 403)
    shared.client(shared.found, "sts").get_caller_identity()


def test_what_is_new_is_not_known_everywhere(shared: Cloud, control: Control) -> None:
    control.set("not-found", seconds=1.0, times=2)
    ec2 = shared.ec2
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/28")["Vpc"]["VpcId"]
    [made] = ec2.run_instances(**shared.wish())["Instances"]
    ids, tag = [made["InstanceId"]], [{"Key": "k", "Value": "v"}]
    assert refused(ec2.create_tags, Resources=[vpc], Tags=tag) == ("InvalidVpcID.NotFound", 400)
    assert refused(ec2.describe_instances, InstanceIds=ids) == ("InvalidInstanceID.NotFound", 400)
    listed = [i["InstanceId"] for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    assert ids[0] not in listed
    assert vpc not in [one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"]]
    assert ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"] == []
    time.sleep(1)
    ec2.create_tags(Resources=[vpc], Tags=tag)
    assert vpc in [one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"]]
    assert len(ec2.describe_instances(InstanceIds=ids)["Reservations"]) == 1


def test_an_instance_stays_pending(shared: Cloud, control: Control) -> None:
    control.set("stuck-pending", times=1)
    [stuck] = shared.ec2.run_instances(**shared.wish())["Instances"]
    machine = Instance(shared, stuck["InstanceId"], "", "")
    wait_until(lambda: control.faults()[0]["struck"] == 1, "struck")
    running(shared)
    assert machine.state == "pending"
    control.clear("stuck-pending")
    machine.reach("running")


def test_somebody_terminates_the_machine(cloud: Cloud) -> None:
    control = Control(cloud.found.endpoint_url)
    with pytest.raises(UsageError, match="no instance"):
        control.set("terminate")
    machine = running(cloud)
    assert control.set("terminate")["struck"] == 1
    machine.reach("terminated")
    other = running(cloud, DisableApiTermination=True)
    control.set("terminate", action="CreateTags", times=1)
    assert other.state == "running"
    cloud.ec2.create_tags(Resources=[other.id], Tags=[{"Key": "k", "Value": "v"}])
    other.reach("terminated")


def test_the_clock_is_wrong(shared: Cloud, control: Control) -> None:
    control.set("clock-skew", seconds=3600)
    assert refused(shared.ec2.describe_vpcs) == ("RequestExpired", 400)
    assert refused(shared.client(shared.found, "sts").get_caller_identity) == ("SignatureDoesNotMatch", 403)
    with pytest.raises(botocore.exceptions.ClientError) as refusal:
        shared.ec2.describe_vpcs()
    headers = refusal.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert abs(_age(headers["date"]) + 3600) < 5
    control.clear()
    control.set("clock-skew", seconds=-3600)
    assert refused(shared.ec2.describe_vpcs) == ("AuthFailure", 401)
    control.clear()
    control.set("clock-skew", seconds=60)
    shared.ec2.describe_vpcs()


def _age(date: str) -> float:
    import email.utils

    return time.time() - email.utils.parsedate_to_datetime(date).timestamp()


def test_each_answer_takes_its_time(shared: Cloud, control: Control) -> None:
    control.set("latency", seconds=0.5, times=1)
    began = time.monotonic()
    shared.ec2.describe_vpcs()
    assert time.monotonic() - began > 0.5
    began = time.monotonic()
    shared.ec2.describe_vpcs()
    assert time.monotonic() - began < 0.4


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_is_held_until_it_is_let_go(shared: Cloud, control: Control, when: str) -> None:
    count = len(shared.ec2.describe_internet_gateways()["InternetGateways"])
    control.set("hold", when=when, action="CreateInternetGateway", skip=1, times=1)
    assert control.held(0.1) is None
    shared.ec2.create_internet_gateway()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(shared.ec2.create_internet_gateway)
        entry = control.held(10)
        assert entry is not None
        assert (entry["action"], entry["outcome"]) == ("CreateInternetGateway", None)
        # Other calls are answered meanwhile.
        there = len(shared.ec2.describe_internet_gateways()["InternetGateways"])
        assert there - count == (2 if when == "after" else 1)
        assert not held.done()
        assert control.release() == 1
        assert held.result(timeout=10)["InternetGateway"]
    assert control.held(0) is None


def test_a_caller_that_is_killed_while_held(shared: Cloud, control: Control) -> None:
    count = len(shared.ec2.describe_internet_gateways()["InternetGateways"])
    control.set("hold", when="before", times=1)
    patience = shared.client(shared.found, "ec2", attempts=1, read_timeout=1)
    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        patience.create_internet_gateway()
    wait_until(lambda: control.calls()[-1]["outcome"] == "gone", "given up")
    assert len(shared.ec2.describe_internet_gateways()["InternetGateways"]) == count
    control.set("hold", when="after", times=1)
    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        patience.create_internet_gateway()
    wait_until(lambda: any(one["outcome"] == "lost" for one in control.calls()[-2:]), "lost")
    assert len(shared.ec2.describe_internet_gateways()["InternetGateways"]) == count + 1


def test_clearing_lets_go_of_what_is_held(shared: Cloud, control: Control) -> None:
    control.set("hold")
    thread = threading.Thread(target=shared.ec2.create_internet_gateway)
    thread.start()
    assert control.held(10)
    assert control.clear("hold") == 1
    thread.join(10)
    assert not thread.is_alive()


def test_the_region_goes_down_with_a_call_held(cloud: Cloud) -> None:
    control = Control(cloud.found.endpoint_url)
    control.set("hold")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(impatient(cloud).create_internet_gateway)
        assert control.held(10)
        assert region.down(cloud.box)
        with pytest.raises(botocore.exceptions.BotoCoreError):
            held.result(timeout=10)


def test_a_name_that_others_have_too_is_found(shared: Cloud, control: Control) -> None:
    control.set("not-found", seconds=30)
    shared.ec2.import_key_pair(KeyName="same", PublicKeyMaterial=shared.public.encode())
    shared.ec2.create_security_group(GroupName="same", Description="d")
    shared.ec2.create_vpc(
        CidrBlock="10.0.0.0/28", TagSpecifications=[{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "same"}]}]
    )
    assert refused(shared.ec2.run_instances, **shared.wish(KeyName="same")) == ("InvalidKeyPair.NotFound", 400)
    assert "same" not in [pair["KeyName"] for pair in shared.ec2.describe_key_pairs()["KeyPairs"]]


def test_faults_are_listed_and_cleared_by_name(control: Control) -> None:
    control.set("throttle", action="RunInstances", times=3)
    control.set("no-capacity", zone="us-west-2a")
    control.set("no-capacity", zone="us-west-2b")
    assert [(one["name"], one["times"], one["zone"]) for one in control.faults()] == [
        ("throttle", 3, None),
        ("no-capacity", None, "us-west-2a"),
        ("no-capacity", None, "us-west-2b"),
    ]
    assert control.clear("no-capacity") == 2
    assert [one["name"] for one in control.faults()] == ["throttle"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("thunder", {}),
        ("throttle", {"times": 0}),
        ("throttle", {"times": "many"}),
        ("throttle", {"zone": "us-west-2a"}),
        ("latency", {"seconds": float("nan")}),
        ("hold", {"when": "never"}),
        ("denied", {"action": ""}),
        ("throttle", {"skip": -1}),
    ],
)
def test_a_fault_that_cannot_be_is_refused_in_words(control: Control, name: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"See: gpu sandbox fault"):
        control.set(name, **options)
    assert control.faults() == []


def test_nobody_there_is_said_in_words() -> None:
    with pytest.raises(GpuError, match="does not answer"):
        Control("http://127.0.0.1:9").faults()


def test_garbage_leaves_the_switches_working(shared: Cloud, control: Control) -> None:
    endpoint = shared.found.endpoint_url
    for method, path, body in (
        ("POST", "faults", b"{"),
        ("POST", "faults", b"[]"),
        ("GET", "calls?after=x", None),
        ("GET", "held?seconds=x", None),
        ("GET", "nothing", None),
    ):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/gpu/{path}", body, method=method))
        assert refusal.value.code in (400, 404)
    assert control.faults() == []


def test_each_rehearsal_is_one_line() -> None:
    assert {"reply-lost", "throttle", "no-capacity", "vcpu-limit", "denied", "not-found"} < set(REHEARSALS)
    assert {"stuck-pending", "terminate", "spot-notice", "clock-skew", "latency", "hold"} < set(REHEARSALS)
    for rehearsal in REHEARSALS.values():
        assert rehearsal.about and "\n" not in rehearsal.about
