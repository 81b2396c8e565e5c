"""What EC2 does with instances, images and what hangs on them, and moto alone does not."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest

from orchestrator.sandbox import region

from .conftest import Cloud, Instance, processes_of, wait_until
from .test_sandbox_faults import refused, running
from .test_sandbox_spot import described

DESCRIBED = (
    *("instances", "volumes", "snapshots", "addresses", "images", "security_groups", "key_pairs", "vpcs", "subnets"),
    *("internet_gateways", "route_tables", "network_interfaces", "spot_instance_requests", "security_group_rules"),
)


def stopped(cloud: Cloud, **more: Any) -> Instance:
    machine = running(cloud, **more)
    cloud.ec2.stop_instances(InstanceIds=[machine.id])
    machine.reach("stopped")
    return machine


def test_the_type_changes_only_while_stopped(shared: Cloud) -> None:
    machine = running(shared)
    change = {"InstanceId": machine.id, "InstanceType": {"Value": "g4dn.xlarge"}}
    assert refused(shared.ec2.modify_instance_attribute, **change) == ("IncorrectInstanceState", 400)
    shared.ec2.stop_instances(InstanceIds=[machine.id])
    machine.reach("stopped")
    shared.ec2.modify_instance_attribute(**change)
    assert described(machine)["InstanceType"] == "g4dn.xlarge"
    for wrong, code in (("g5g.xlarge", "InvalidParameterValue"), ("p9.huge", "InvalidInstanceAttributeValue")):
        change["InstanceType"] = {"Value": wrong}
        assert refused(shared.ec2.modify_instance_attribute, **change) == (code, 400)
    assert described(machine)["InstanceType"] == "g4dn.xlarge"


def test_a_type_of_another_architecture_or_zone_is_refused(shared: Cloud) -> None:
    wish = shared.wish(InstanceType="g5g.xlarge")
    assert refused(shared.ec2.run_instances, **wish) == ("InvalidParameterValue", 400)
    zones = {one["AvailabilityZone"]: one["SubnetId"] for one in shared.ec2.describe_subnets()["Subnets"]}
    wish = shared.wish(InstanceType="p2.xlarge")
    wish["NetworkInterfaces"][0]["SubnetId"] = zones["us-west-2d"]
    assert refused(shared.ec2.run_instances, **wish) == ("Unsupported", 400)


def test_a_type_that_its_zone_has_not_does_not_start(shared: Cloud) -> None:
    zones = {one["AvailabilityZone"]: one["SubnetId"] for one in shared.ec2.describe_subnets()["Subnets"]}
    card = {"DeviceIndex": 0, "SubnetId": zones["us-west-2d"], "AssociatePublicIpAddress": False}
    machine = stopped(shared, InstanceType="t3.micro", NetworkInterfaces=[card])
    shared.ec2.modify_instance_attribute(InstanceId=machine.id, InstanceType={"Value": "p2.xlarge"})
    assert refused(shared.ec2.start_instances, InstanceIds=[machine.id]) == ("Unsupported", 400)


def test_the_behaviour_at_shutdown_changes_alone(shared: Cloud) -> None:
    group = shared.ec2.create_security_group(GroupName="stays", Description="d")["GroupId"]
    wish = shared.wish()
    card = {**wish["NetworkInterfaces"][0], "Groups": [group]}
    machine = running(shared, NetworkInterfaces=[card], InstanceInitiatedShutdownBehavior="terminate")
    look = {"InstanceId": machine.id, "Attribute": "instanceInitiatedShutdownBehavior"}
    change = {"InstanceId": machine.id, "InstanceInitiatedShutdownBehavior": {"Value": "stop"}}
    before = described(machine)["NetworkInterfaces"][0]["Groups"]
    shared.ec2.modify_instance_attribute(**change)
    answer = shared.ec2.describe_instance_attribute(**look)
    assert answer["InstanceInitiatedShutdownBehavior"] == {"Value": "stop"}
    assert described(machine)["NetworkInterfaces"][0]["Groups"] == before != []
    change["InstanceInitiatedShutdownBehavior"] = {"Value": "explode"}
    assert refused(shared.ec2.modify_instance_attribute, **change) == ("InvalidParameterValue", 400)


@pytest.mark.parametrize("at_birth", [True, False])
def test_a_protected_instance_is_not_terminated(shared: Cloud, at_birth: bool) -> None:
    machine = running(shared, DisableApiTermination=at_birth)
    protect = {"InstanceId": machine.id, "DisableApiTermination": {"Value": True}}
    if not at_birth:
        shared.ec2.modify_instance_attribute(**protect)
    look = {"InstanceId": machine.id, "Attribute": "disableApiTermination"}
    assert shared.ec2.describe_instance_attribute(**look)["DisableApiTermination"] == {"Value": True}
    other = running(shared)
    both = {"InstanceIds": [other.id, machine.id]}
    assert refused(shared.ec2.terminate_instances, **both) == ("OperationNotPermitted", 400)
    assert (other.state, machine.state) == ("running", "running")
    protect["DisableApiTermination"] = {"Value": False}
    shared.ec2.modify_instance_attribute(**protect)
    assert shared.ec2.describe_instance_attribute(**look)["DisableApiTermination"] == {"Value": False}
    shared.ec2.terminate_instances(InstanceIds=[machine.id])
    machine.reach("terminated")


def test_why_and_when_a_machine_stopped(shared: Cloud) -> None:
    machine = stopped(shared)
    found = described(machine)
    assert re.fullmatch(r"User initiated \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d GMT\)", found["StateTransitionReason"])
    assert found["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    shared.ec2.start_instances(InstanceIds=[machine.id])
    machine.reach("running")
    found = described(machine)
    assert found["StateTransitionReason"] == "" and "StateReason" not in found


def test_the_quota_counts_what_runs(cloud: Cloud) -> None:
    first = running(cloud, InstanceType="p2.xlarge")
    second = running(cloud, InstanceType="p2.xlarge")
    third = cloud.wish(InstanceType="p2.xlarge")
    assert refused(cloud.ec2.run_instances, **third) == ("VcpuLimitExceeded", 400)
    market = {"InstanceMarketOptions": {"MarketType": "spot"}}
    assert refused(cloud.ec2.run_instances, **third, **market) == ("MaxSpotInstanceCountExceeded", 400)
    cloud.ec2.stop_instances(InstanceIds=[first.id])
    first.reach("stopped")
    cloud.ec2.run_instances(**third)
    assert refused(cloud.ec2.start_instances, InstanceIds=[first.id]) == ("VcpuLimitExceeded", 400)
    cloud.ec2.terminate_instances(InstanceIds=[second.id])
    second.reach("terminated")
    cloud.ec2.start_instances(InstanceIds=[first.id])


def test_types_images_and_instances_tell_what_fits(shared: Cloud) -> None:
    names = ["p2.xlarge", "p3.2xlarge", "p4d.24xlarge", "g4dn.xlarge", "g5.xlarge", "g6.xlarge", "g5g.xlarge"]
    found = shared.ec2.describe_instance_types(InstanceTypes=names)["InstanceTypes"]
    shapes = {one["InstanceType"]: one for one in found}
    assert set(shapes) == set(names)
    for name, shape in shapes.items():
        assert shape["ProcessorInfo"]["SupportedArchitectures"] == ["arm64" if name == "g5g.xlarge" else "x86_64"]
        assert shape["SupportedVirtualizationTypes"] == ["hvm"]
        assert shape["SupportedBootModes"] and shape["GpuInfo"]["Gpus"][0]["Count"] >= 1
    assert shapes["p2.xlarge"]["SupportedBootModes"] == ["legacy-bios"]
    machine = running(shared)
    [image] = shared.ec2.describe_images(ImageIds=[described(machine)["ImageId"]])["Images"]
    for facts in (image, described(machine)):
        assert (facts["Architecture"], facts["VirtualizationType"]) == ("x86_64", "hvm")
        assert facts["BootMode"] == "uefi-preferred"
    assert described(machine)["CurrentInstanceBootMode"] == "legacy-bios"


def test_an_image_takes_the_disk_along(shared: Cloud) -> None:
    ec2, source = shared.ec2, shared.machine()
    source.ask("echo kept > gpu/kept; ln -s kept gpu/link; mkfifo gpu/pipe; chmod 600 gpu/kept")
    tags = [{"ResourceType": kind, "Tags": [{"Key": "of", "Value": kind}]} for kind in ("image", "snapshot")]
    ec2.stop_instances(InstanceIds=[source.id])
    source.reach("stopped")
    wanted = {"InstanceId": source.id, "Name": "resized", "TagSpecifications": tags}
    image_id = ec2.create_image(**wanted)["ImageId"]
    image = ec2.describe_images(ImageIds=[image_id])["Images"][0]
    snapshot_id = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    assert (image["State"], image["Tags"]) == ("pending", [{"Key": "of", "Value": "image"}])
    assert refused(ec2.run_instances, **shared.wish(ImageId=image_id)) == ("InvalidAMIID.Unavailable", 400)
    assert refused(ec2.create_image, **wanted) == ("InvalidAMIName.Duplicate", 400)
    wait_until(lambda: ec2.describe_images(ImageIds=[image_id])["Images"][0]["State"] == "available", "available")
    [snapshot] = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    assert (snapshot["State"], snapshot["Tags"]) == ("completed", [{"Key": "of", "Value": "snapshot"}])
    copy = shared.machine(ImageId=image_id, InstanceType="t3.micro")
    assert copy.ask("cat gpu/link; stat -c %a gpu/kept; test -p gpu/pipe && gpu/env/bin/python -c 'print(7)'") == (
        "kept\n600\n7"
    )
    copy.ask("echo other > gpu/kept")
    ec2.start_instances(InstanceIds=[source.id])
    wait_until(source.answers, "SSH answers")
    assert source.ask("cat gpu/kept") == "kept"
    assert refused(ec2.delete_snapshot, SnapshotId=snapshot_id) == ("InvalidSnapshot.InUse", 400)
    ec2.deregister_image(ImageId=image_id)
    ec2.delete_snapshot(SnapshotId=snapshot_id)
    ours = [{"Name": "tag:of", "Values": ["image", "snapshot"]}]
    assert ec2.describe_images(Filters=ours)["Images"] == ec2.describe_snapshots(Filters=ours)["Snapshots"] == []
    assert ec2.describe_tags(Filters=[{"Name": "key", "Values": ["of"]}])["Tags"] == []
    assert not (shared.box / "snapshots" / snapshot_id).exists()


def test_a_copy_is_broken_off_when_the_region_goes_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin/cp"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nwhile :; do sleep 0.2; done\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    cloud = Cloud(tmp_path)
    try:
        cloud.up()
        machine = stopped(cloud)
        cloud.ec2.create_image(InstanceId=machine.id, Name="large")
        wait_until(lambda: any("--reflink" in command for command in processes_of(cloud.box).values()), "copying")
        began = time.monotonic()
    finally:
        assert region.down(cloud.box)
    assert time.monotonic() - began < 15
    assert processes_of(cloud.box) == {}


def test_a_snapshot_of_a_volume_is_tagged_and_takes_its_time(shared: Cloud) -> None:
    machine = running(shared)
    volume = described(machine)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "k", "Value": "v"}]}]
    made = shared.ec2.create_snapshot(VolumeId=volume, TagSpecifications=tags)
    assert (made["State"], made["Tags"]) == ("pending", tags[0]["Tags"])

    def completed() -> bool:
        [found] = shared.ec2.describe_snapshots(SnapshotIds=[made["SnapshotId"]])["Snapshots"]
        return bool(found["State"] == "completed")

    wait_until(completed, "completed")
    shared.ec2.delete_snapshot(SnapshotId=made["SnapshotId"])


def test_a_filter_is_answered_or_refused_in_words(shared: Cloud) -> None:
    machine = running(shared)
    launched = described(machine)["LaunchTime"]

    def ids(name: str, value: str) -> list[str]:
        found = shared.ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])["Reservations"]
        return [one["InstanceId"] for reservation in found for one in reservation["Instances"]]

    assert machine.id in ids("launch-time", f"{launched:%Y-%m-%d}T*")
    assert machine.id not in ids("launch-time", "1999-*")
    assert machine.id in ids("instance-state-name", "running")
    assert machine.id not in ids("instance-lifecycle", "spot")
    nonsense = {"Filters": [{"Name": "colour", "Values": ["red"]}]}
    for kind in DESCRIBED:
        try:
            answer = getattr(shared.ec2, f"describe_{kind}")(**nonsense)
        except botocore.exceptions.ClientError as refusal:
            assert refusal.response["Error"]["Code"] == "InvalidParameterValue", kind
        else:
            assert not any(answer[key] for key in answer if key != "ResponseMetadata"), kind
    assert refused(shared.ec2.describe_instances, **nonsense) == ("InvalidParameterValue", 400)


def test_an_address_of_its_own_has_no_empty_instance(shared: Cloud) -> None:
    made = shared.ec2.allocate_address(Domain="vpc")
    [found] = shared.ec2.describe_addresses(AllocationIds=[made["AllocationId"]])["Addresses"]
    assert "InstanceId" not in found and "AssociationId" not in found
    machine = running(shared)
    shared.ec2.associate_address(InstanceId=machine.id, AllocationId=made["AllocationId"])
    [found] = shared.ec2.describe_addresses(AllocationIds=[made["AllocationId"]])["Addresses"]
    assert found["InstanceId"] == machine.id
    release = {"AllocationId": made["AllocationId"]}
    assert refused(shared.ec2.release_address, **release) == ("InvalidIPAddress.InUse", 400)
    shared.ec2.disassociate_address(AssociationId=found["AssociationId"])
    shared.ec2.release_address(**release)


def test_nothing_goes_before_what_depends_on_it(shared: Cloud) -> None:
    ec2 = shared.ec2
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/28")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/28", AvailabilityZone="us-west-2a")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="held", Description="d", VpcId=vpc)["GroupId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(VpcId=vpc, InternetGatewayId=gateway)
    card = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "AssociatePublicIpAddress": False}
    machine = running(shared, NetworkInterfaces=[card])
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    link = ec2.associate_address(InstanceId=machine.id, AllocationId=address)["AssociationId"]
    held = ("DependencyViolation", 400)
    detach = {"VpcId": vpc, "InternetGatewayId": gateway}
    assert refused(ec2.detach_internet_gateway, **detach) == held
    ec2.disassociate_address(AssociationId=link)
    ec2.release_address(AllocationId=address)
    ec2.terminate_instances(InstanceIds=[machine.id])
    assert machine.state == "shutting-down"
    assert refused(ec2.delete_subnet, SubnetId=subnet) == held
    assert refused(ec2.delete_security_group, GroupId=group) == held
    machine.reach("terminated")
    assert refused(ec2.delete_vpc, VpcId=vpc) == held
    ec2.delete_subnet(SubnetId=subnet)
    assert refused(ec2.delete_vpc, VpcId=vpc) == held
    ec2.delete_security_group(GroupId=group)
    assert refused(ec2.delete_vpc, VpcId=vpc) == held
    ec2.detach_internet_gateway(**detach)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_vpc(VpcId=vpc)


def test_what_went_with_another_thing_has_no_tags(shared: Cloud) -> None:
    tags = [{"Key": "gone", "Value": "yes"}]
    kinds = [{"ResourceType": kind, "Tags": tags} for kind in ("network-interface", "volume")]
    machine = running(shared, TagSpecifications=kinds)
    group = shared.ec2.create_security_group(GroupName="ruled", Description="d")["GroupId"]
    ssh = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "192.0.2.1/32"}]}]
    rule = [{"ResourceType": "security-group-rule", "Tags": tags}]
    made = shared.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=ssh, TagSpecifications=rule)
    ours = [{"Name": "key", "Values": ["gone"]}]

    def tagged() -> set[str]:
        return {one["ResourceId"].partition("-")[0] for one in shared.ec2.describe_tags(Filters=ours)["Tags"]}

    assert {"sgr", "vol"} <= tagged()
    rule_ids = [one["SecurityGroupRuleId"] for one in made["SecurityGroupRules"]]
    shared.ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=rule_ids)
    assert "sgr" not in tagged()
    shared.ec2.terminate_instances(InstanceIds=[machine.id])
    machine.reach("terminated")
    assert tagged() == set()


def test_every_region_can_be_looked_at(shared: Cloud) -> None:
    began = time.monotonic()
    regions = [one["RegionName"] for one in shared.ec2.describe_regions()["Regions"]]
    assert "us-west-2" in regions and len(regions) > 10
    enabled = [{"Name": "opt-in-status", "Values": ["opt-in-not-required", "opted-in"]}]
    assert shared.ec2.describe_regions(AllRegions=False, Filters=enabled)["Regions"]
    session = boto3.session.Session(aws_access_key_id="any", aws_secret_access_key="thing", region_name="us-west-2")
    for name in regions:
        ec2 = session.client("ec2", region_name=name, endpoint_url=shared.found.endpoint_url)
        for kind in DESCRIBED if name in ("us-east-1", "eu-west-1") else ("instances", "spot_instance_requests"):
            getattr(ec2, f"describe_{kind}")(Filters=[{"Name": "tag-key", "Values": ["gpu:profile"]}])
    assert time.monotonic() - began < 30
