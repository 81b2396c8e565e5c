"""The planner alone: from any half-made account to one of each, and nothing to do after that."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import GpuError, UsageError
from orchestrator.providers.aws import planner, removal, steps
from orchestrator.providers.aws.inventory import (
    ElasticIp,
    Gateway,
    Group,
    Inventory,
    Loose,
    Machine,
    Rule,
    Snapshot,
    SpotRequest,
    Subnet,
    Table,
    Vpc,
)

CHOICE = planner.Choice("t2.micro", ("a", "b"), "ami-1", "/dev/sda1")
WANTED = planner.Request("t2", port=22, cidr="192.0.2.1/32", key_name="k", disk_gb=8, choice=CHOICE)
WHOLE = Inventory(
    vpcs=(Vpc("v"),),
    gateways=(Gateway("g", "v"),),
    subnets=(Subnet("s", "v", "a"),),
    tables=(Table("t", "v", "g", (("l", "s"),)),),
    groups=(Group("sg", "v", (Rule("r", 22, "192.0.2.1/32"),)),),
    keys=("k",),
    machines=(Machine("i", "t2", "running", "t2.micro", "s", "k"),),
    addresses=(ElasticIp("e", "192.0.2.9", "t2", "as", "i"),),
)

PARTS = sorted(name for name, value in vars(WHOLE).items() if value)
EVERYTHING = Inventory(
    **{
        **vars(WHOLE),
        "spot_requests": (SpotRequest("sir", "i", "active"),),
        "images": (
            Snapshot("ami", "i", "available", datetime(2026, 1, 1, tzinfo=timezone.utc), "/dev/sda1", ("snap-1",)),
        ),
        "loose": (Loose("snap-2", "i"),),
    }
)


def names(have: Inventory) -> list[str]:
    return [type(step).__name__ for step in planner.plan_start(WANTED, have)]


def with_machine(phase: str) -> Inventory:
    return Inventory(**{**vars(WHOLE), "machines": (Machine("i", "t2", phase, "t2.micro", "s", "k"),)})


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("running", []),
        ("pending", ["AwaitRunning"]),
        ("stopped", ["StartInstance", "AwaitRunning"]),
        ("stopping", ["AwaitStopped", "StartInstance", "AwaitRunning"]),
        ("shutting-down", ["RunInstance", "AwaitRunning", "AssociateAddress"]),
        ("terminated", ["RunInstance", "AwaitRunning", "AssociateAddress"]),
    ],
)
def test_each_phase_has_its_way_to_running(phase: str, expected: list[str]) -> None:
    assert names(with_machine(phase)) == expected


def test_a_gateway_made_and_not_attached_is_attached() -> None:
    have = Inventory(**{**vars(WHOLE), "gateways": (Gateway("g"),)})
    assert names(have) == ["AttachGateway"]


def test_several_machines_are_named_and_none_is_chosen() -> None:
    twins = (WHOLE.machines[0], Machine("i2", "t2", "stopped", "t2.micro", "s", "k"))
    with pytest.raises(GpuError, match=r"i \(running\), i2 \(stopped\)"):
        names(Inventory(**{**vars(WHOLE), "machines": twins}))


def test_a_zone_that_is_full_is_left_with_its_subnet() -> None:
    elsewhere = Inventory(
        **{**vars(WHOLE), "machines": (), "subnets": (Subnet("s", "v", "z"),), "tables": (Table("t", "v", "g"),)}
    )
    assert names(elsewhere)[:3] == ["DeleteSubnet", "CreateSubnet", "LinkTable"]
    run = next(s for s in planner.plan_start(WANTED, elsewhere) if isinstance(s, steps.RunInstance))
    assert run.zone == "a"


@given(st.sets(st.sampled_from(PARTS)))
def test_from_any_subset_only_what_is_missing_is_made(missing: set[str]) -> None:
    # Without the network nothing that lies in it can be there; without the subnet no machine.
    if "vpcs" in missing:
        missing |= {"subnets", "tables", "groups", "machines"}
    if "subnets" in missing:
        missing |= {"machines"}
    have = Inventory(**{key: () if key in missing else value for key, value in vars(WHOLE).items()})
    made = names(have)
    creators = {
        "vpcs": "CreateVpc",
        "subnets": "CreateSubnet",
        "tables": "CreateTable",
        "groups": "CreateGroup",
        "keys": "ImportKey",
        "machines": "RunInstance",
        "addresses": "AllocateAddress",
    }
    assert {part for part, step in creators.items() if step in made} == missing - {"gateways"}
    assert len(made) == len(set(made))


@given(st.sets(st.sampled_from(sorted(vars(EVERYTHING)))))
def test_removal_names_everything_that_is_there(there: set[str]) -> None:
    have = Inventory(**{key: value for key, value in vars(EVERYTHING).items() if key in there})
    planned = repr(removal.plan_removal(have))
    for part in there:
        for thing in getattr(have, part):
            named = thing if isinstance(thing, str) else getattr(thing, "id", None) or thing.image
            assert f"'{named}'" in planned, (part, planned)
    assert bool(removal.plan_removal(have)) == bool(there - {"baked", "layers"})


def test_removal_lets_no_spot_request_make_another_machine() -> None:
    order = [type(step).__name__ for step in removal.plan_removal(EVERYTHING)]
    assert order.index("Unprotect") < order.index("CancelSpot") < order.index("Terminate") < order.index("DeleteVpc")


def test_one_kind_is_removed_without_what_others_have() -> None:
    other = Inventory(
        machines=(Machine("j", "p2", "running", "p2.xlarge", "s", "k", spot=True, spot_request="sir-j"),),
        addresses=(ElasticIp("f", "192.0.2.8", "p2", "assoc-f", "j"),),
        # Made for a t2 that has been resized; and one whose machine EC2 has not told yet.
        spot_requests=(SpotRequest("sir-j", "j", "active", "t2"), SpotRequest("sir-o", None, "open", "p2")),
    )
    both = Inventory(**{name: (*getattr(EVERYTHING, name), *getattr(other, name)) for name in vars(EVERYTHING)})
    removed = {kind: removal.plan_removal(removal.of_kind(both, kind)) for kind in ("t2", "p2", "g5")}
    assert removed["p2"] == (
        steps.CancelSpot("sir-j"),
        steps.CancelSpot("sir-o"),
        steps.Terminate(("j",)),
        steps.ReleaseAddress("f", "192.0.2.8", None),
    )
    assert [type(step).__name__ for step in removed["t2"]] == [
        *("Unprotect", "CancelSpot", "Terminate", "DeregisterImage", "DeleteSnapshot", "DeleteSnapshot"),
        "ReleaseAddress",
    ]
    assert not {"j", "f", "sir-j"} & {word.strip("'(),") for word in repr(removed["t2"]).split()}
    assert removed["g5"] == ()


def test_what_was_made_twice_is_removed() -> None:
    twice = Inventory(
        **{
            **vars(WHOLE),
            "vpcs": (Vpc("v"), Vpc("w")),
            "gateways": (Gateway("g", "v"), Gateway("h")),
            "groups": (*WHOLE.groups, Group("sh", "w")),
            "addresses": (*WHOLE.addresses, ElasticIp("f", "192.0.2.8", "t2")),
        }
    )
    assert set(planner.plan_start(WANTED, twice)) == {
        steps.ReleaseAddress("f", "192.0.2.8", None),
        steps.DeleteGroup("sh"),
        steps.DeleteVpc("w"),
        steps.DeleteGateway("h", None),
    }


def test_an_on_demand_machine_is_not_taken_for_a_spot_one() -> None:
    with pytest.raises(UsageError, match="on-demand"):
        planner.plan_start(replace(WANTED, spot=True), WHOLE)
    assert planner.plan_start(replace(WANTED, spot=False), WHOLE) == ()
