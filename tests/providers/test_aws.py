"""The provider's whole life against an emulated EC2: once, twice, interrupted anywhere, and removed."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import GpuError, MachineAbsent, MachineStopped, UsageError
from orchestrator.providers import open_provider
from orchestrator.providers.aws import keys
from orchestrator.providers.aws.session import NoCapacity, Session
from orchestrator.providers.base import Removable, Wish
from orchestrator.settings import Profile
from orchestrator.state import StateFile

from .conftest import Cloud

CREATING = {
    "CreateVpc",
    "CreateInternetGateway",
    "CreateSubnet",
    "CreateRouteTable",
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "ImportKeyPair",
    "AllocateAddress",
    "RunInstances",
}


class Interrupted(BaseException):
    """As Ctrl-C is: nothing of ours may catch it."""


def counts(cloud: Cloud) -> dict[str, int]:
    have = cloud.provider()._ec2.inventory()
    alive = [m for m in have.machines if m.phase not in ("terminated", "shutting-down")]
    names = ("vpcs", "gateways", "subnets", "tables", "groups", "keys", "addresses")
    return {"machines": len(alive), **{name: len(getattr(have, name)) for name in names}}


def test_one_of_each_however_often_it_is_started(cloud: Cloud) -> None:
    first = cloud.start()
    assert set(counts(cloud).values()) == {1}
    changes = len(cloud.calls)
    assert cloud.start() == first
    assert len(cloud.calls) == changes
    assert cloud.provider().plan(Wish("t2")).steps == ()


def test_every_creating_call_carries_its_tags(cloud: Cloud) -> None:
    cloud.start()
    assert {name for name, _ in cloud.calls} >= CREATING
    for name, params in cloud.calls:
        if name in CREATING:
            for spec in params["TagSpecifications"]:
                assert {"gpu:profile", "gpu:owner", "gpu:version"} <= {tag["Key"] for tag in spec["Tags"]}, name


def test_the_machine_is_a_careful_one(cloud: Cloud) -> None:
    cloud.start()
    request = next(params for name, params in cloud.calls if name == "RunInstances")
    assert request["MetadataOptions"]["HttpTokens"] == "required"
    assert request["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert request["BlockDeviceMappings"][0]["Ebs"] == {
        "VolumeSize": 128,
        "VolumeType": "gp3",
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    assert request["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is False
    assert request["InstanceInitiatedShutdownBehavior"] == "stop"
    assert {s["ResourceType"] for s in request["TagSpecifications"]} == {"instance", "volume", "network-interface"}


def test_user_data_has_the_host_key_and_never_the_client_key(cloud: Cloud) -> None:
    cloud.start()
    data = base64.b64decode(next(p for name, p in cloud.calls if name == "RunInstances")["UserData"]).decode()
    secret = keys.client_key(cloud.home, cloud.profile.name).read_text().splitlines()[2]
    host = keys.host_key(cloud.home, cloud.profile.name, "t2").read_text().splitlines()[2]
    assert secret not in data
    assert host in data
    assert len(data) < 16 * 1024


def test_the_client_token_is_on_disk_before_the_call(cloud: Cloud) -> None:
    on_disk: list[bool] = []

    def look(_number: int, when: str) -> None:
        name, params = cloud.calls[-1]
        if name == "RunInstances" and when == "before":
            on_disk.append(params["ClientToken"] in (cloud.home.state / f"{cloud.profile.name}.json").read_text())

    cloud.interrupt = look
    cloud.start()
    assert on_disk == [True]


def test_stop_keeps_the_address_and_says_the_remedy(cloud: Cloud) -> None:
    first = cloud.start()
    provider = cloud.provider()
    provider.stop()
    provider.stop()
    state = provider.state()
    assert (state.phase, state.ip) == ("stopped", first.host)
    assert state.price is not None
    with pytest.raises(MachineStopped, match="gpu start"):
        provider.address()
    assert cloud.start() == first


def test_what_is_absent_is_said(cloud: Cloud) -> None:
    provider = cloud.provider()
    assert provider.state().phase == "absent"
    for verb in (provider.stop, provider.address):
        with pytest.raises(MachineAbsent):
            verb()
    with pytest.raises(UsageError, match="t2"):
        cloud.provider("tt2")


def test_two_kinds_share_the_network_and_go_together(cloud: Cloud) -> None:
    cloud.start("t2")
    cloud.start("g4dn.xlarge")
    assert counts(cloud) == {**dict.fromkeys(counts(cloud), 1), "machines": 2, "addresses": 2}
    ids = {kind: cloud.provider(kind).state().machine_id for kind in ("t2", "g4dn.xlarge")}
    assert {kind: cloud.provider("p2").kind_of(machine) for kind, machine in ids.items()} == {k: k for k in ids}
    told = cloud.provider("t2").others()
    assert [(other.kind, other.phase, other.machine_id) for other in told] == [
        ("g4dn.xlarge", "running", ids["g4dn.xlarge"])
    ]
    assert told[0].price == cloud.provider("g4dn.xlarge").state().price
    cloud.remove()
    assert cloud.provider().kind_of(ids["t2"]) is None
    assert cloud.provider("p2").others() == []
    assert set(counts(cloud).values()) == {0}
    assert not list((cloud.home.state / "known_hosts").iterdir())
    assert not list(cloud.home.keys.glob("*-host"))
    assert cloud.provider().plan_removal().steps == ()
    cloud.remove()


def test_known_hosts_and_keys_are_private(cloud: Cloud) -> None:
    address = cloud.start()
    assert address.known_hosts.read_text().startswith(f"[{address.host}]:2222 ssh-ed25519 ")
    assert address.key_file.stat().st_mode & 0o777 == 0o600
    assert cloud.home.keys.stat().st_mode & 0o777 == 0o700
    address.key_file.chmod(0o644)
    with pytest.raises(GpuError, match="chmod 600"):
        cloud.start()


def test_what_is_not_ours_is_left_alone(cloud: Cloud) -> None:
    other = cloud.client
    vpc = other.create_vpc(CidrBlock="10.0.0.0/28")["Vpc"]["VpcId"]
    kept = other.allocate_address(Domain="vpc")["AllocationId"]
    cloud.start()
    cloud.remove()
    assert other.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    assert other.describe_addresses(AllocationIds=[kept])["Addresses"]


def test_the_door_moves_with_the_caller(cloud: Cloud) -> None:
    cloud.start()
    provider = cloud.provider()
    ec2, changes = provider._ec2, provider._changes
    group = ec2.inventory().groups[0]
    changes.open_ssh(group.id, 2222, "192.0.2.1/32")
    changes.close_ssh(group.id, group.rules[0].id)
    assert provider.admit()
    assert not provider.admit()
    assert [(rule.port, rule.cidr) for rule in ec2.inventory().groups[0].rules] == [(2222, "127.0.0.1/32")]


def test_a_machine_terminated_behind_our_back_is_made_anew(cloud: Cloud) -> None:
    first = cloud.start()
    gone = cloud.provider().state().machine_id
    cloud.client.terminate_instances(InstanceIds=[gone])
    assert cloud.start().host == first.host
    assert cloud.provider().state().machine_id != gone


def test_a_key_from_another_computer_is_refused(cloud: Cloud) -> None:
    address = cloud.start()
    address.key_file.unlink()
    with pytest.raises(GpuError, match="another key"):
        cloud.start()


def test_a_full_zone_is_left_for_the_next(cloud: Cloud) -> None:
    tried: list[str] = []

    def refuse(number: int, when: str) -> None:
        name, _ = cloud.calls[number - 1]
        if name == "RunInstances" and when == "before":
            tried.append(name)
            if len(tried) == 1:
                raise NoCapacity("AWS has no such machine free", "Try again later")

    cloud.interrupt = refuse
    cloud.start()
    assert len(tried) == 2
    assert set(counts(cloud).values()) == {1}
    tokens = [params["ClientToken"] for name, params in cloud.calls if name == "RunInstances"]
    zones = [params["AvailabilityZone"] for name, params in cloud.calls if name == "CreateSubnet"]
    assert len(set(tokens)) == len(set(zones)) == 2


def at(number: int, when: str) -> Callable[[int, str], None]:
    def interrupt(now: int, moment: str) -> None:
        if (now, moment) == (number, when):
            raise Interrupted

    return interrupt


def sweep(cloud: Cloud, points: list[tuple[int, str]]) -> None:
    for number, when in points:
        cloud.calls.clear()
        cloud.interrupt = at(number, when)
        with pytest.raises(Interrupted):
            cloud.start()
        cloud.interrupt = lambda _number, _when: None
        cloud.start()
        assert set(counts(cloud).values()) == {1}, (number, when)
        cloud.calls.clear()
        cloud.remove()
        assert set(counts(cloud).values()) == {0}, (number, when)


def every_point(cloud: Cloud) -> list[tuple[int, str]]:
    cloud.start()
    total = len(cloud.calls)
    cloud.remove()
    return [(number, when) for number in range(1, total + 1) for when in ("before", "after")]


def test_interrupted_at_some_calls_it_converges(cloud: Cloud) -> None:
    sweep(cloud, random.Random(1).sample(every_point(cloud), 2))


@pytest.mark.slow
def test_interrupted_at_every_call_it_converges(cloud: Cloud) -> None:
    sweep(cloud, every_point(cloud))


@pytest.mark.slow
def test_removal_interrupted_at_every_call_is_finished_later(cloud: Cloud) -> None:
    cloud.start()
    cloud.calls.clear()
    cloud.remove()
    for number in range(1, len(cloud.calls) + 1):
        cloud.start()
        cloud.calls.clear()
        cloud.interrupt = at(number, "after")
        with pytest.raises(Interrupted):
            cloud.remove()
        cloud.interrupt = lambda _number, _when: None
        cloud.remove()
        assert set(counts(cloud).values()) == {0}, number


def test_the_registry_knows_its_providers(cloud: Cloud) -> None:
    options = {"kind": "t2", "home": cloud.home, "endpoint_url": cloud.endpoint, "say": cloud.said.append}
    assert isinstance(open_provider(cloud.profile, **options), Removable)
    with pytest.raises(GpuError, match="providers are: aws"):
        open_provider(Profile("x", provider="awss"), **options)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', '{"version": 1, "tokens": 3}'])
def test_a_damaged_state_file_is_set_aside(cloud: Cloud, text: str) -> None:
    file: Path = cloud.home.state / "p.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    state = StateFile(cloud.home, "p", cloud.said.append)
    assert state.selected_kind() is None
    assert file.with_suffix(".json.broken").read_text() == text
    assert len(cloud.said) == 1
    state.select_kind("t2")
    assert state.selected_kind() == "t2"


def test_the_sandbox_never_looks_at_the_developers_profile(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "a-section-that-there-is-not")
    assert Session(cloud.profile, cloud.endpoint).ec2.meta.endpoint_url == cloud.endpoint


def test_an_endpoint_that_is_not_there_is_said(cloud: Cloud) -> None:
    cloud.endpoint = "http://127.0.0.1:9"
    with pytest.raises(GpuError, match="cannot be reached"):
        cloud.provider().state()
