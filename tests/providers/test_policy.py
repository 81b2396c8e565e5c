"""The least that gpu must be allowed: exactly what the code calls, and nobody else's things."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from orchestrator.providers.aws import policy
from orchestrator.providers.base import Wish

from .conftest import Cloud

PACKAGE = Path(policy.__file__).parent
OWNED = {"gpu:owner": "123456789012/user/alice"}
PREFIXES = {
    "vpc": "vpc",
    "subnet": "subnet",
    "sg": "security-group",
    "igw": "internet-gateway",
    "rtb": "route-table",
    "i": "instance",
    "eipalloc": "elastic-ip",
    "ami": "image",
    "snap": "snapshot",
    "vol": "volume",
    "eni": "network-interface",
    "sir": "spot-instances-request",
}
ID = re.compile(rf"({'|'.join(PREFIXES)})-[0-9a-f]+")
TYPES = sorted({*PREFIXES.values(), "key-pair", "security-group-rule"})


def the_policy() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(policy.FILE.read_text())
    return document


def statements(action: str) -> list[dict[str, Any]]:
    return [one for one in the_policy()["Statement"] if action in one["Action"]]


def holds(condition: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    """As IAM reads it: every operator and every key must hold; of several values one."""
    for operator, keys in condition.items():
        for key, wanted in keys.items():
            if operator == "Null":
                if (key in context) == (wanted == "true"):
                    return False
            else:
                assert operator == "StringEquals", operator
                if context.get(key) not in ([wanted] if isinstance(wanted, str) else wanted):
                    return False
    return True


def allowed(action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether the file allows `action` on one resource, an ARN."""
    return any(
        any(fnmatchcase(resource, pattern) for pattern in one["Resource"]) and holds(one.get("Condition", {}), context)
        for one in statements(action)
    )


def arn(resource: str, name: str = "x") -> str:
    account = "" if resource in ("image", "snapshot") else "123456789012"
    return f"arn:aws:ec2:us-west-2:{account}:{resource}/{name}"


def context_of(
    request: Mapping[str, str] | None = None, resource: Mapping[str, str] | None = None, **more: str
) -> dict[str, str]:
    tags = {f"aws:RequestTag/{key}": value for key, value in (request or {}).items()}
    tags |= {f"aws:ResourceTag/{key}": value for key, value in (resource or {}).items()}
    return {**tags, **{key.replace("_", ":"): value for key, value in more.items()}}


CHANGES = sorted(
    action.partition(":")[2]
    for action in policy.calls()
    if action.startswith("ec2:") and not action.partition(":")[2].startswith(policy.READING)
)


def test_the_file_is_what_the_code_calls() -> None:
    """After a call has been added or taken away: python -m orchestrator.providers.aws.policy"""
    assert policy.FILE.read_text() == policy.text()


def test_it_is_short_enough_to_be_attached() -> None:
    assert len("".join(policy.FILE.read_text().split())) <= policy.LIMIT


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("client.describe_hosts()", "ec2:DescribeHosts"),
        ("change = client.delete_volume if odd else client.attach_volume", "ec2:AttachVolume"),
        ("client.get_paginator('describe_volumes').paginate()", "ec2:DescribeVolumes"),
        ("client.get_waiter('volume_available').wait()", "ec2:DescribeVolumes"),
        ("api.change('DeleteVolume', VolumeId=volume)", "ec2:DeleteVolume"),
        ("session.pricing.get_products()", "pricing:GetProducts"),
        ("session.quotas.request_service_quota_increase()", "servicequotas:RequestServiceQuotaIncrease"),
    ],
)
def test_every_way_to_call_is_seen(line: str, action: str, tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text(f"def f(client, api, session, volume, odd):\n    {line}\n")
    assert action in policy.calls(tmp_path)


def test_a_call_that_is_added_makes_the_file_old(tmp_path: Path) -> None:
    copy = shutil.copytree(PACKAGE, tmp_path / "aws")
    assert policy.document(policy.calls(copy)) == the_policy()
    (copy / "new.py").write_text("def f(client):\n    client.describe_hosts()\n")
    assert policy.document(policy.calls(copy)) != the_policy()
    (copy / "new.py").write_text("def f(client):\n    client.delete_nat_gateway()\n")
    with pytest.raises(ValueError, match="ec2:DeleteNatGateway"):
        policy.document(policy.calls(copy))


def test_nothing_is_allowed_that_no_code_calls(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def f(client):\n    client.create_vpc()\n")
    made = policy.document(policy.calls(tmp_path))
    actions = {action for one in made["Statement"] for action in one["Action"]}
    assert actions == {"ec2:CreateVpc", "ec2:CreateTags"}


def test_each_call_is_limited() -> None:
    """Everything but looking asks for a tag, or is for a named part of AWS."""
    for one in the_policy()["Statement"]:
        looks = all(action.partition(":")[2].startswith(policy.READING) for action in one["Action"])
        assert looks or one["Resource"] != ["*"] or "gpu:owner" in json.dumps(one["Condition"]), one["Sid"]
    assert all("*" not in action for one in the_policy()["Statement"] for action in one["Action"])


@pytest.mark.parametrize("name", CHANGES)
def test_the_things_of_others_are_out_of_reach(name: str) -> None:
    """Even in a request that carries our tag: it is for what is made."""
    made = policy.MAKES.get(name, ())
    for resource in TYPES:
        foreign = context_of(OWNED, {"Name": "somebody's"})
        public = name == "RunInstances" and resource == "image"
        assert allowed(f"ec2:{name}", arn(resource), foreign) == (resource in made or public), resource
        assert not allowed(f"ec2:{name}", arn(resource), context_of()) or public, resource


def test_what_is_made_without_our_tag_is_refused() -> None:
    for name in sorted(set(CHANGES) & policy.MAKES.keys()):
        for resource in policy.MAKES[name]:
            assert allowed(f"ec2:{name}", arn(resource), context_of(OWNED)), (name, resource)
            if (name, resource) != ("RunInstances", "image"):
                assert not allowed(f"ec2:{name}", arn(resource), context_of({"Name": "x"})), (name, resource)


def test_nothing_becomes_ours_by_a_tag() -> None:
    instance = arn("instance", "i-1")
    assert allowed("ec2:CreateTags", instance, context_of(OWNED, ec2_CreateAction="RunInstances"))
    assert not allowed("ec2:CreateTags", instance, context_of(OWNED))
    assert not allowed("ec2:CreateTags", instance, context_of(OWNED, ec2_CreateAction="RequestSpotFleet"))
    assert not allowed("ec2:CreateTags", instance, context_of({"Name": "x"}, ec2_CreateAction="RunInstances"))


def test_only_public_parameters_and_only_the_roles_that_are_needed() -> None:
    assert allowed("ssm:GetParameter", "arn:aws:ssm:us-west-2::parameter/aws/service/canonical/ubuntu/x", {})
    assert not allowed("ssm:GetParameter", "arn:aws:ssm:us-west-2:123456789012:parameter/database/password", {})
    role = "arn:aws:iam::123456789012:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
    spot = {"iam:AWSServiceName": "spot.amazonaws.com"}
    assert allowed("iam:CreateServiceLinkedRole", role, spot)
    assert not allowed("iam:CreateServiceLinkedRole", role.replace("spot.", "eks."), spot)
    assert not allowed("iam:CreateServiceLinkedRole", role, {"iam:AWSServiceName": "eks.amazonaws.com"})


class Guard:
    """Asks the policy before each call of a client, as EC2 would; remembers what was asked."""

    def __init__(self, bystander: Any) -> None:
        self.bystander = bystander
        self.asked: set[str] = set()
        self.refused: list[str] = []

    def __call__(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        prefix = policy.PREFIXES[model.service_model.service_name]
        action = f"{prefix}:{model.name}"
        self.asked.add(action)
        if prefix != "ec2" or model.name.startswith(policy.READING):
            name = f"arn:aws:ssm:us-west-2::parameter{params['Name']}" if prefix == "ssm" else "*"
            self._check(action, name, {})
            return
        given = {
            spec["ResourceType"]: {tag["Key"]: tag["Value"] for tag in spec["Tags"]}
            for spec in params.get("TagSpecifications", [])
        }
        for resource in policy.MAKES.get(model.name, ()):
            if resource != "spot-instances-request" or resource in given:
                self._check(action, arn(resource, "new"), context_of(given.get(resource)))
        for resource, tags in given.items():
            self._check("ec2:CreateTags", arn(resource, "new"), context_of(tags, ec2_CreateAction=model.name))
        for resource, tags in self._touched(model.name, params):
            self._check(action, arn(resource), context_of(resource=tags))

    def _check(self, action: str, resource: str, context: Mapping[str, str]) -> None:
        if not allowed(action, resource, context):
            self.refused.append(f"{action} on {resource} with {sorted(context)}")

    def _touched(self, name: str, params: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
        given = {key: value for key, value in params.items() if key not in ("TagSpecifications", "UserData")}
        found = [self._known(word) for word in words(given) if ID.fullmatch(word)]
        if "KeyName" in params and name != "ImportKeyPair":
            pairs = self.bystander.describe_key_pairs(KeyNames=[params["KeyName"]])["KeyPairs"]
            found.append(("key-pair", tags_of(pairs[0])))
        if link := str(params.get("AssociationId", "")):
            found.append(self._linked(link))
        return found

    def _known(self, word: str) -> tuple[str, dict[str, str]]:
        tags = self.bystander.describe_tags(Filters=[{"Name": "resource-id", "Values": [word]}])["Tags"]
        return PREFIXES[word.partition("-")[0]], {tag["Key"]: tag["Value"] for tag in tags}

    def _linked(self, link: str) -> tuple[str, dict[str, str]]:
        if link.startswith("rtbassoc-"):
            tables = self.bystander.describe_route_tables()["RouteTables"]
            return "route-table", tags_of(
                next(t for t in tables if any(a["RouteTableAssociationId"] == link for a in t["Associations"]))
            )
        addresses = self.bystander.describe_addresses()["Addresses"]
        return "elastic-ip", tags_of(next(a for a in addresses if a.get("AssociationId") == link))


def words(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [word for one in value.values() for word in words(one)]
    if isinstance(value, (list, tuple)):
        return [word for one in value for word in words(one)]
    return [value] if isinstance(value, str) else []


def tags_of(thing: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags", [])}


def test_a_whole_life_stays_within_it(cloud: Cloud) -> None:
    """Asked of every call as it is made, with the tags that its resources have at that moment."""
    guard = Guard(cloud.client)

    def provider() -> Any:
        made = cloud.provider()
        session = made._session
        for client in {id(c): c for c in (session.ec2, session.ec2_once, session.sts, session.ssm)}.values():
            client.meta.events.register(f"provide-client-params.{client.meta.service_model.service_name}.*", guard)
        return made

    for _ in range(2):
        starting = provider()
        starting.start(starting.plan(Wish("t2")))
        provider().stop()
    resizing = provider()
    resizing.resize(resizing.plan_resize(Wish("t2", "t3.micro")))
    removing = provider()
    removing.remove(removing.plan_removal())
    assert guard.refused == []
    assert "ec2:ModifyInstanceAttribute" in guard.asked
    assert {"ec2:RunInstances", "ec2:TerminateInstances", "ec2:DeleteVpc", "ssm:GetParameter"} <= guard.asked
    assert guard.asked <= policy.calls()
