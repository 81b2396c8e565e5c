"""Spot instances as EC2 has them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sandbox import region
from orchestrator.sandbox.control import Control

from .conftest import Cloud, Instance, wait_until
from .test_sandbox_faults import refused, running

PERSISTENT = {
    "MarketType": "spot",
    "SpotOptions": {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"},
}
TAGS = [{"Key": "gpu:profile", "Value": "spotty"}]


def spot(cloud: Cloud, market: Any = PERSISTENT, **more: Any) -> tuple[Instance, str]:
    specification = [{"ResourceType": kind, "Tags": TAGS} for kind in ("instance", "spot-instances-request")]
    machine = running(cloud, InstanceMarketOptions=market, TagSpecifications=specification, **more)
    return machine, str(described(machine)["SpotInstanceRequestId"])


def described(machine: Instance) -> dict[str, Any]:
    [reservation] = machine.cloud.ec2.describe_instances(InstanceIds=[machine.id])["Reservations"]
    found: dict[str, Any] = reservation["Instances"][0]
    return found


def request(cloud: Cloud, request_id: str) -> dict[str, Any]:
    [found] = cloud.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request_id])["SpotInstanceRequests"]
    answer: dict[str, Any] = found
    return answer


def test_a_spot_instance_comes_from_a_tagged_request(shared: Cloud) -> None:
    machine, request_id = spot(shared)
    assert described(machine)["InstanceLifecycle"] == "spot"
    found = request(shared, request_id)
    assert (found["State"], found["Status"]["Code"], found["Type"]) == ("active", "fulfilled", "persistent")
    assert (found["InstanceId"], found["InstanceInterruptionBehavior"]) == (machine.id, "stop")
    assert found["Tags"] == TAGS
    ours = [{"Name": "tag:gpu:profile", "Values": ["spot*"]}, {"Name": "state", "Values": ["open", "active"]}]
    by_tag = shared.ec2.describe_spot_instance_requests(Filters=ours)["SpotInstanceRequests"]
    assert request_id in [one["SpotInstanceRequestId"] for one in by_tag]
    ours[0]["Values"] = ["nobody"]
    assert shared.ec2.describe_spot_instance_requests(Filters=ours)["SpotInstanceRequests"] == []
    with_spot = [{"Name": "spot-instance-request-id", "Values": [request_id]}]
    [reservation] = shared.ec2.describe_instances(Filters=with_spot)["Reservations"]
    assert reservation["Instances"][0]["InstanceId"] == machine.id
    plain = running(shared)
    assert "InstanceLifecycle" not in described(plain) and "SpotInstanceRequestId" not in described(plain)


def test_a_persistent_one_can_be_stopped_and_started(shared: Cloud) -> None:
    machine, request_id = spot(shared)
    shared.ec2.stop_instances(InstanceIds=[machine.id])
    assert request(shared, request_id)["State"] == "active"
    machine.reach("stopped")
    found = request(shared, request_id)
    assert (found["State"], found["Status"]["Code"]) == ("disabled", "instance-stopped-by-user")
    change = {"InstanceId": machine.id, "InstanceType": {"Value": "t3.micro"}}
    assert refused(shared.ec2.modify_instance_attribute, **change) == ("UnsupportedOperation", 400)
    shared.ec2.start_instances(InstanceIds=[machine.id])
    assert request(shared, request_id)["State"] == "active"
    machine.reach("running")


def test_a_standing_order_launches_another_one(shared: Cloud) -> None:
    """What a removal that forgets to cancel the request leaks."""
    machine, request_id = spot(shared)
    shared.ec2.terminate_instances(InstanceIds=[machine.id])
    wait_until(lambda: request(shared, request_id)["InstanceId"] != machine.id, "replaced")
    other = Instance(shared, request(shared, request_id)["InstanceId"], "", "")
    other.reach("running")
    assert "Tags" not in described(other) or described(other)["Tags"] == []
    assert described(other)["SpotInstanceRequestId"] == request_id
    [cancelled] = shared.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request_id])[
        "CancelledSpotInstanceRequests"
    ]
    assert cancelled == {"SpotInstanceRequestId": request_id, "State": "cancelled"}
    assert other.state == "running"
    assert refused(shared.ec2.stop_instances, InstanceIds=[other.id]) == ("IncorrectSpotRequestState", 400)
    shared.ec2.terminate_instances(InstanceIds=[other.id])
    other.reach("terminated")
    assert request(shared, request_id)["State"] == "cancelled"


def test_cancelling_takes_a_stopped_instance_along(shared: Cloud) -> None:
    machine, request_id = spot(shared)
    shared.ec2.stop_instances(InstanceIds=[machine.id])
    machine.reach("stopped")
    shared.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request_id])
    machine.reach("terminated")


def test_a_one_time_request_ends_with_its_instance(shared: Cloud) -> None:
    machine, request_id = spot(shared, {"MarketType": "spot"})
    assert refused(shared.ec2.stop_instances, InstanceIds=[machine.id]) == ("UnsupportedOperation", 400)
    shared.ec2.terminate_instances(InstanceIds=[machine.id])
    machine.reach("terminated")
    wait_until(lambda: request(shared, request_id)["State"] == "closed", "closed")


def test_an_order_whose_key_is_gone_ends(shared: Cloud) -> None:
    shared.ec2.import_key_pair(KeyName="lost", PublicKeyMaterial=shared.public.encode())
    machine, request_id = spot(shared, KeyName="lost")
    shared.ec2.terminate_instances(InstanceIds=[machine.id])
    shared.ec2.delete_key_pair(KeyName="lost")
    wait_until(lambda: request(shared, request_id)["State"] == "closed", "closed")
    assert request(shared, request_id)["Status"]["Code"] == "bad-parameters"
    running(shared)


def test_what_spot_cannot_be_is_refused(shared: Cloud) -> None:
    one_time = {"MarketType": "spot", "SpotOptions": {"InstanceInterruptionBehavior": "stop"}}
    wish = shared.wish(InstanceMarketOptions=one_time)
    assert refused(shared.ec2.run_instances, **wish) == ("InvalidParameterCombination", 400)
    older = {"LaunchSpecification": {"ImageId": wish["ImageId"], "InstanceType": "t2.micro"}}
    assert refused(shared.ec2.request_spot_instances, **older) == ("UnsupportedOperation", 400)
    missing = {"SpotInstanceRequestIds": ["sir-00000000"]}
    for call in (shared.ec2.describe_spot_instance_requests, shared.ec2.cancel_spot_instance_requests):
        assert refused(call, **missing) == ("InvalidSpotInstanceRequestID.NotFound", 400)
    by = {"Filters": [{"Name": "colour", "Values": ["red"]}]}
    assert refused(shared.ec2.describe_spot_instance_requests, **by) == ("InvalidParameterValue", 400)


def test_spot_prices_by_type_and_zone(shared: Cloud) -> None:
    found = shared.ec2.describe_spot_price_history(
        InstanceTypes=["p2.xlarge", "g4dn.xlarge"], ProductDescriptions=["Linux/UNIX"]
    )["SpotPriceHistory"]
    assert {one["InstanceType"] for one in found} == {"p2.xlarge", "g4dn.xlarge"}
    assert all(0 < float(one["SpotPrice"]) < 0.9 for one in found)
    assert len({one["AvailabilityZone"] for one in found}) >= 2
    [one] = shared.ec2.describe_spot_price_history(InstanceTypes=["p2.xlarge"], AvailabilityZone="us-west-2a")[
        "SpotPriceHistory"
    ]
    assert one["AvailabilityZone"] == "us-west-2a"


def test_the_notice_is_read_as_on_ec2_and_kept(shared: Cloud) -> None:
    machine, request_id = spot(shared)
    bystander = running(shared)
    action = "latest/meta-data/spot/instance-action"
    token = metadata(machine, "latest/api/token", "PUT", ttl="60")
    assert metadata(machine, "latest/meta-data/instance-id", token=token) == machine.id
    told = (shared.box / "instances" / machine.id / "run/imds").read_text()
    assert told == f"{shared.found.endpoint_url}/imds/{machine.id}\n"
    assert metadata_code(machine, action, token) == 404
    assert metadata_code(machine, action, "") == 401
    assert metadata_code(bystander, action, token) == 401
    control = Control(shared.found.endpoint_url)
    control.set("spot-notice", seconds=1)
    notice = json.loads(metadata(machine, action, token=token))
    assert notice["action"] == "stop" and notice["time"].endswith("Z")
    assert machine.state == "running"
    machine.reach("stopped")
    assert described(machine)["StateReason"]["Code"] == "Server.SpotInstanceShutdown"
    assert bystander.state == "running"
    found = request(shared, request_id)
    assert (found["State"], found["Status"]["Code"]) == ("open", "instance-stopped-no-capacity")
    assert refused(shared.ec2.start_instances, InstanceIds=[machine.id]) == ("IncorrectSpotRequestState", 400)


def test_ec2_starts_again_what_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_SANDBOX_DELAY", "0.03")
    cloud = Cloud(tmp_path)
    try:
        cloud.up()
        control = Control(cloud.found.endpoint_url)
        machine, request_id = spot(cloud)
        single, once = spot(cloud, {"MarketType": "spot"})
        control.set("no-capacity")
        control.set("spot-notice", seconds=0)
        machine.reach("stopped")
        single.reach("terminated")
        assert described(single)["StateReason"]["Code"] == "Server.SpotInstanceTermination"
        assert request(cloud, once)["Status"]["Code"] == "instance-terminated-no-capacity"
        time.sleep(3)
        assert (machine.state, request(cloud, request_id)["State"]) == ("stopped", "open")
        control.clear("no-capacity")
        machine.reach("running")
        assert request(cloud, request_id)["State"] == "active"
    finally:
        region.down(cloud.box)


def metadata(machine: Instance, path: str, method: str = "GET", *, token: str = "", ttl: str = "") -> str:
    headers = {"X-aws-ec2-metadata-token": token} if token else {}
    if ttl:
        headers["X-aws-ec2-metadata-token-ttl-seconds"] = ttl
    url = f"{machine.cloud.found.endpoint_url}/imds/{machine.id}/{path}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method)) as answer:
        return str(answer.read().decode())


def metadata_code(machine: Instance, path: str, token: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        metadata(machine, path, token=token)
    return refusal.value.code
