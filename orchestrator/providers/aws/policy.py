"""The least that gpu must be allowed, generated from the calls that this package makes.

`python -m orchestrator.providers.aws.policy` writes `policy.json` anew; `gpu doctor --policy` prints it.

Everything that gpu makes carries the tag `gpu:owner` from the same request, and nothing without it is changed or
deleted. It is for one person's account or for several who trust each other: whoever has it may touch the things of
every owner. For an IAM user of their own, replace the `Null` conditions by `StringEquals` with
`${aws:PrincipalAccount}/user/${aws:username}`, which is how gpu writes that tag.

Which resource types a call is checked against, and for which of them EC2 knows the tags of the request or of the
resource, is from https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html .
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.loaders import Loader

FILE = Path(__file__).with_name("policy.json")
LIMIT = 6144
"""Characters without white space that a managed policy may have.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

PREFIXES: Mapping[str, str] = {
    "ec2": "ec2",
    "sts": "sts",
    "ssm": "ssm",
    "pricing": "pricing",
    "service-quotas": "servicequotas",
}
"""botocore's name of a service, and IAM's."""

READING = ("Describe", "Get", "List")

MAKES: Mapping[str, tuple[str, ...]] = {
    "AllocateAddress": ("elastic-ip",),
    "AuthorizeSecurityGroupIngress": ("security-group-rule",),
    "CopyImage": ("image", "snapshot"),
    "CreateImage": ("image", "snapshot"),
    "CreateInternetGateway": ("internet-gateway",),
    "CreateRouteTable": ("route-table",),
    "CreateSecurityGroup": ("security-group",),
    "CreateSnapshot": ("snapshot",),
    "CreateSubnet": ("subnet",),
    "CreateVolume": ("volume",),
    "CreateVpc": ("vpc",),
    "ImportKeyPair": ("key-pair",),
    "RegisterImage": ("image",),
    # The request for spot capacity is checked where it is tagged, which it is:
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/concepts-spot-instances-request-tags.html
    "RunInstances": ("instance", "network-interface", "spot-instances-request", "volume"),
}
"""Creating calls, with the types of what comes to be. Those that need what exists are in `TOUCHES` too: it is ours."""

TOUCHES = frozenset(
    {
        *("AssociateAddress", "AssociateRouteTable", "AttachInternetGateway", "AttachVolume"),
        *("AuthorizeSecurityGroupIngress", "CancelSpotInstanceRequests", "CopyImage", "CreateImage", "CreateRoute"),
        *("CreateRouteTable", "CreateSecurityGroup", "CreateSnapshot", "CreateSubnet", "CreateTags", "CreateVolume"),
        *("DeleteInternetGateway", "DeleteKeyPair", "DeleteNetworkInterface", "DeleteRouteTable"),
        *("DeleteSecurityGroup", "DeleteSnapshot", "DeleteSubnet", "DeleteVolume", "DeleteVpc", "DeregisterImage"),
        *("DetachInternetGateway", "DetachVolume", "DisassociateAddress", "DisassociateRouteTable"),
        *("ModifyInstanceAttribute", "ModifyVolume", "ModifyVpcAttribute", "RebootInstances", "RegisterImage"),
        *("ReleaseAddress", "ReplaceRoute", "RevokeSecurityGroupIngress", "RunInstances", "StartInstances"),
        *("StopInstances", "TerminateInstances"),
    }
)
"""Calls that act on what exists: only on what has our tag."""

ELSEWHERE: Mapping[str, str] = {
    # The parameters that AWS itself publishes.
    # https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
    "ssm:GetParameter": "arn:*:ssm:*:*:parameter/aws/service/*",
    "servicequotas:RequestServiceQuotaIncrease": "arn:*:servicequotas:*:*:ec2/*",
}
"""Calls of other services that do not go for everything."""

ROLES: Mapping[str, str] = {
    # The first spot machine and the first increase of an account make AWS's own role for it.
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html
    # https://docs.aws.amazon.com/servicequotas/latest/userguide/security-iam-awsmanpol.html
    "ec2:RunInstances": "spot.amazonaws.com",
    "servicequotas:RequestServiceQuotaIncrease": "servicequotas.amazonaws.com",
}

REQUEST_HAS_TAG = {"Null": {"aws:RequestTag/gpu:owner": "false"}}
RESOURCE_HAS_TAG = {"Null": {"aws:ResourceTag/gpu:owner": "false"}}


def document(actions: Collection[str]) -> dict[str, Any]:
    """The policy for `actions` (`ec2:CreateVpc`, ...). ValueError for a change that no table of this module limits."""
    ec2 = {action.partition(":")[2] for action in actions if action.startswith("ec2:")}
    changes = {name for name in ec2 if not name.startswith(READING)}
    looks = {a for a in actions if a.partition(":")[2].startswith(READING) and a not in ELSEWHERE}
    if rest := {*actions} - looks - ELSEWHERE.keys() - {f"ec2:{name}" for name in changes & (MAKES.keys() | TOUCHES)}:
        raise ValueError(f"say in {Path(__file__).name} what these may touch: {', '.join(sorted(rest))}")
    statements = [
        _allow("Look", looks),
        *_making(changes & MAKES.keys()),
        _allow("Touch", _ec2(changes & TOUCHES), condition=RESOURCE_HAS_TAG),
        *(_allow(a.partition(":")[2], {a}, [ELSEWHERE[a]]) for a in sorted(ELSEWHERE) if a in actions),
        *_roles(actions),
    ]
    return {"Version": "2012-10-17", "Statement": [statement for statement in statements if statement["Action"]]}


def _making(names: Collection[str]) -> Iterator[dict[str, Any]]:
    # One statement a call: a security group that may be made is not one that a rule may be put into.
    for name in sorted(names):
        yield _allow(
            name, {f"ec2:{name}"}, {f"arn:*:ec2:*:*:{resource}/*" for resource in MAKES[name]}, REQUEST_HAS_TAG
        )
    if "RunInstances" in names:
        # Images are others' as a rule; the machine's key, group and subnet must be ours (see Touch).
        yield _allow("Begin", {"ec2:RunInstances"}, {"arn:*:ec2:*::image/*"})
    # Only while something is made: nobody else's things become ours by a tag.
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
    condition = {"StringEquals": {"ec2:CreateAction": sorted(names)}, **REQUEST_HAS_TAG}
    yield _allow("Tag", {"ec2:CreateTags"} if names else (), condition=condition)


def _roles(actions: Collection[str]) -> Iterator[dict[str, Any]]:
    services = sorted(service for action, service in ROLES.items() if action in actions)
    roles = {f"arn:*:iam::*:role/aws-service-role/{service}/*" for service in services}
    condition = {"StringEquals": {"iam:AWSServiceName": services}}
    yield _allow("Roles", {"iam:CreateServiceLinkedRole"} if services else (), roles, condition)


def _ec2(names: Collection[str]) -> set[str]:
    return {f"ec2:{name}" for name in names}


def _allow(
    sid: str, actions: Collection[str], resources: Collection[str] = ("*",), condition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    limits = {"Condition": dict(condition)} if condition else {}
    return {"Sid": sid, "Effect": "Allow", "Action": sorted(actions), "Resource": sorted(resources), **limits}


def calls(folder: Path = Path(__file__).parent) -> frozenset[str]:
    """IAM's names of all calls in the modules of `folder`: methods, paginators, waiters, operations by name."""
    names = operations()
    found: set[str] = set()
    for file in sorted(folder.glob("*.py")):
        if file.name != Path(__file__).name:
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                word = node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", None)
                if isinstance(node, (ast.Attribute, ast.Constant)) and isinstance(word, str):
                    found.update(names.get(word, ()))
    return frozenset(found)


@lru_cache(maxsize=1)
def operations() -> Mapping[str, tuple[str, ...]]:
    """`describe_instances`, `DescribeInstances` and `instance_running` (a waiter) to `ec2:DescribeInstances`."""
    loader = Loader()
    names: dict[str, set[str]] = {}
    for service, prefix in PREFIXES.items():
        for operation in loader.load_service_model(service, "service-2")["operations"]:
            for name in (operation, xform_name(operation)):
                names.setdefault(name, set()).add(f"{prefix}:{operation}")
        if service in loader.list_available_services("waiters-2"):
            for waiter, about in loader.load_service_model(service, "waiters-2")["waiters"].items():
                names.setdefault(xform_name(waiter), set()).add(f"{prefix}:{about['operation']}")
    return {name: tuple(sorted(actions)) for name, actions in names.items()}


def text() -> str:
    """The file's whole content."""
    return json.dumps(document(calls()), indent=1) + "\n"


def main() -> int:
    FILE.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
