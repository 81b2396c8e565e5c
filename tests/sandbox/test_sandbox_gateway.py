"""What EC2 does and moto does not."""

from __future__ import annotations

import urllib.request
from concurrent.futures import ThreadPoolExecutor

import botocore.exceptions
import pytest

from .conftest import Cloud, Instance


def _refused(call: object, **arguments: object) -> str:
    assert callable(call)
    with pytest.raises(botocore.exceptions.ClientError) as refusal:
        call(**arguments)
    return str(refusal.value.response["Error"]["Code"])


def _bare(shared: Cloud, **more: object) -> Instance:
    [made] = shared.ec2.run_instances(**shared.wish(**more))["Instances"]
    assert made["State"] == {"Code": 0, "Name": "pending"}
    return Instance(shared, made["InstanceId"], "", "")


def test_one_token_one_instance_even_at_once(shared: Cloud) -> None:
    wish = shared.wish(ClientToken="t-1")
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: shared.ec2.run_instances(**wish), range(8)))
    assert len({reply["Instances"][0]["InstanceId"] for reply in replies}) == 1
    by_token = shared.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": ["t-1"]}])
    assert len(by_token["Reservations"]) == 1
    other = {**wish, "InstanceType": "t3.micro"}
    assert _refused(shared.ec2.run_instances, **other) == "IdempotentParameterMismatch"
    [second] = shared.ec2.run_instances(**{**wish, "ClientToken": "t-2"})["Instances"]
    assert second["InstanceId"] != replies[0]["Instances"][0]["InstanceId"]


def test_volumes_and_route_tables_honour_tokens(shared: Cloud) -> None:
    vpc = shared.ec2.create_vpc(CidrBlock="10.0.0.0/28")["Vpc"]["VpcId"]
    tables = [shared.ec2.create_route_table(VpcId=vpc, ClientToken="r")["RouteTable"] for _ in "ab"]
    assert tables[0]["RouteTableId"] == tables[1]["RouteTableId"]
    volumes = [shared.ec2.create_volume(AvailabilityZone="us-west-2a", Size=1, ClientToken="v") for _ in "ab"]
    assert volumes[0]["VolumeId"] == volumes[1]["VolumeId"]


def test_impossible_transitions_are_refused(shared: Cloud) -> None:
    ec2, machine = shared.ec2, _bare(shared)
    ids, address = [machine.id], shared.ec2.allocate_address(Domain="vpc")
    join = {"InstanceId": machine.id, "AllocationId": address["AllocationId"]}
    assert _refused(ec2.associate_address, **join) == "InvalidInstanceID"
    assert _refused(ec2.stop_instances, InstanceIds=ids) == "IncorrectInstanceState"
    machine.reach("running")
    ec2.start_instances(InstanceIds=ids)
    assert machine.state == "running"
    ec2.stop_instances(InstanceIds=ids)
    ec2.stop_instances(InstanceIds=ids)
    assert machine.state == "stopping"
    assert _refused(ec2.start_instances, InstanceIds=ids) == "IncorrectInstanceState"
    machine.reach("stopped")
    assert _refused(ec2.reboot_instances, InstanceIds=ids) == "IncorrectState"
    ec2.terminate_instances(InstanceIds=ids)
    machine.reach("terminated")
    ec2.terminate_instances(InstanceIds=ids)
    assert machine.state == "terminated"
    assert _refused(ec2.start_instances, InstanceIds=ids) == "IncorrectInstanceState"
    assert _refused(ec2.stop_instances, InstanceIds=ids) == "IncorrectInstanceState"
    assert _refused(ec2.stop_instances, InstanceIds=["i-00000000000000000"]) == "InvalidInstanceID.NotFound"


def test_a_one_time_spot_instance_cannot_stop(shared: Cloud) -> None:
    machine = _bare(shared, InstanceMarketOptions={"MarketType": "spot"})
    machine.reach("running")
    assert _refused(shared.ec2.stop_instances, InstanceIds=[machine.id]) == "UnsupportedOperation"


def test_the_lecture_s_machines_exist(shared: Cloud) -> None:
    [shape] = shared.ec2.describe_instance_types(InstanceTypes=["p2.xlarge"])["InstanceTypes"]
    assert (shape["VCpuInfo"]["DefaultVCpus"], shape["GpuInfo"]["Gpus"][0]["Name"]) == (4, "K80")
    offered = shared.ec2.describe_instance_type_offerings(
        LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["p2.xlarge"]}]
    )
    assert {one["Location"] for one in offered["InstanceTypeOfferings"]} >= {"us-west-2a", "us-west-2b"}
    [image] = shared.ec2.describe_images(ImageIds=[shared.wish()["ImageId"]])["Images"]
    assert image["RootDeviceName"] == "/dev/sda1"
    canonical = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"
    assert shared.ssm.get_parameter(Name=canonical)["Parameter"]["Value"].startswith("ami-")
    assert _refused(shared.ec2.run_instances, **shared.wish(ImageId="ami-12345678")) == "InvalidAMIID.NotFound"
    assert _refused(shared.ec2.run_instances, **shared.wish(InstanceType="p9.huge")) != "InternalError"
    assert _refused(shared.ec2.run_instances, **shared.wish(KeyName="none")) == "InvalidKeyPair.NotFound"


def test_addresses_are_apart_and_away_from_localhost(shared: Cloud) -> None:
    addresses = [shared.ec2.allocate_address(Domain="vpc")["PublicIp"] for _ in range(30)]
    assert len(set(addresses)) == 30
    assert not [one for one in addresses if not one.startswith("127.") or one.startswith("127.0.")]


def test_deleted_things_have_no_tags(shared: Cloud) -> None:
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "gpu:profile", "Value": "x"}]}]
    vpc = shared.ec2.create_vpc(CidrBlock="10.0.0.0/28", TagSpecifications=tags)["Vpc"]["VpcId"]
    mine = [{"Name": "resource-id", "Values": [vpc]}]
    assert [one["ResourceId"] for one in shared.ec2.describe_tags(Filters=mine)["Tags"]] == [vpc]
    shared.ec2.delete_vpc(VpcId=vpc)
    assert shared.ec2.describe_tags(Filters=mine)["Tags"] == []


def test_all_that_a_machine_needs_can_be_removed_again(shared: Cloud) -> None:
    ec2 = shared.ec2
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/28")["Vpc"]["VpcId"]
    # Not every zone has every type: named, not left to chance.
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/28", AvailabilityZone="us-west-2a")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    card = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "AssociatePublicIpAddress": False}
    machine = _bare(shared, NetworkInterfaces=[card])
    ec2.terminate_instances(InstanceIds=[machine.id])
    machine.reach("terminated")
    ec2.delete_security_group(GroupId=group)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)


def test_checkip_tells_the_caller_s_address(shared: Cloud) -> None:
    with urllib.request.urlopen(f"{shared.up().endpoint_url}/checkip") as answer:
        assert answer.read() == b"127.0.0.1\n"
