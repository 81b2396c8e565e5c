"""Images of one's own: which one a machine begins with, which go, what is copied, and what a bake leaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ami
from ami import bake
from orchestrator import __version__
from orchestrator.errors import UsageError
from orchestrator.prices import table, types_of
from orchestrator.providers.aws import baking, own, planner, removal, steps
from orchestrator.providers.aws.inventory import BUILDER, ElasticIp, Inventory, Machine, Subnet, Vpc
from orchestrator.providers.base import MachineImage

TODAY = datetime(2026, 11, 25, tzinfo=timezone.utc)
NEWEST = bake.environment_for(None)


def image(number: int = 0, **more: Any) -> MachineImage:
    usual: dict[str, Any] = {
        "profile": "p",
        "state": "available",
        "made": TODAY - timedelta(days=number),
        "size_gb": 8,
        "environment": NEWEST,
        "version": __version__,
        "snapshots": (f"snap-{number}",),
    }
    return MachineImage(f"ami-{number}", f"name-{number}", "us-west-2", **{**usual, **more})


def builder(phase: str = "running") -> Machine:
    return Machine("i-b", BUILDER, phase, "t3.medium", "subnet-1")


def request() -> planner.Request:
    choice = planner.Choice("t3.medium", ("a",), "ami-base", "/dev/sda1", "a base")
    return planner.Request(BUILDER, port=22, cidr="192.0.2.1/32", key_name="k", disk_gb=8, choice=choice)


# --- which one


def test_the_newest_that_fits_is_taken() -> None:
    fit, unfit = own.fitting([image(2), image(1), image(0, state="pending")], own.Newborn("t2.micro", 8))
    assert [one.id for one in fit] == ["ami-1", "ami-2"]
    assert unfit == ["ami-0 is pending"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"architecture": "arm64"}, "arm64"),
        ({"environment": "cuda11"}, "cuda11"),
        ({"environment": ""}, "nobody"),
        ({"version": "9.9.9"}, "9.9.9"),
        ({"size_gb": 9}, "disk"),
        ({"state": "failed"}, "failed"),
    ],
)
def test_why_one_does_not_fit(change: dict[str, Any], word: str) -> None:
    assert own.misfit(image(), own.Newborn("t2.micro", 8)) == ""
    assert word in own.misfit(image(**change), own.Newborn("t2.micro", 8))


def test_an_older_gpu_takes_only_its_own_environment() -> None:
    assert own.misfit(image(), own.Newborn("g5.xlarge", 8)) == ""
    assert "cuda11" in own.misfit(image(), own.Newborn("p2.xlarge", 8))
    assert own.misfit(image(environment="cuda11"), own.Newborn("p2.xlarge", 8)) == ""


def test_no_emulated_machine_has_an_older_gpu() -> None:
    assert own.misfit(image(), own.Newborn("p2.xlarge", 8, emulated=True)) == ""
    assert "cuda11" in own.misfit(image(environment="cuda11"), own.Newborn("p2.xlarge", 8, emulated=True))


@pytest.mark.parametrize("name", table().types)
def test_every_type_has_an_environment(name: str) -> None:
    assert bake.environment_for(table().types[name].capability) in ("cuda11", "cuda126", "cuda128", "cuda130")


def test_a_fix_of_this_version_is_no_reason_to_bake() -> None:
    major, minor, _ = __version__.split(".")
    assert own.misfit(image(version=f"{major}.{minor}.99"), own.Newborn("t2.micro", 8)) == ""


def test_old_begins_after_ninety_days() -> None:
    assert not own.is_old(image(90), TODAY)
    assert own.is_old(image(91), TODAY)


def test_the_recipe_is_of_what_makes_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = bake.recipe()
    assert bake.recipe() == before
    files = ami.provisioning()
    monkeypatch.setattr(bake, "provisioning", lambda: {**files, "provision.sh": files["provision.sh"] + b"\n"})
    assert bake.recipe() != before


# --- which go


def test_prune_keeps_the_newest_and_those_in_use() -> None:
    machine = Machine("i-1", "t2", "stopped", "t2.micro", image="ami-3")
    have = Inventory(baked=tuple(image(n) for n in range(5)), machines=(machine,))
    plan, stays = baking.plan_prune(have, 2)
    assert plan == (
        steps.DeregisterImage("ami-4"),
        steps.DeleteSnapshot("snap-4"),
        steps.DeregisterImage("ami-2"),
        steps.DeleteSnapshot("snap-2"),
    )
    assert len(stays) == 1 and "ami-3" in stays[0] and "i-1" in stays[0]
    with pytest.raises(UsageError):
        baking.plan_prune(have, -1)


@given(st.integers(0, 8), st.integers(0, 9))
def test_prune_leaves_so_many_and_none_that_is_older(count: int, keep: int) -> None:
    have = Inventory(baked=tuple(image(n) for n in range(count)))
    plan, _ = baking.plan_prune(have, keep)
    gone = [step.image for step in plan if isinstance(step, steps.DeregisterImage)]
    assert gone == [f"ami-{n}" for n in reversed(range(min(keep, count), count))]


def test_what_is_not_whole_goes_with_prune_and_with_destroy() -> None:
    have = Inventory(baked=(image(0), image(1, state="pending"), image(2, state="failed")), layers=("snap-x",))
    gone = (
        steps.DeregisterImage("ami-1"),
        steps.DeleteSnapshot("snap-1"),
        steps.DeregisterImage("ami-2"),
        steps.DeleteSnapshot("snap-2"),
        steps.DeleteSnapshot("snap-x"),
    )
    assert baking.plan_prune(have, 1)[0] == gone
    assert removal.plan_removal(have) == gone


# --- baking


def test_a_bake_is_shown_from_its_leftovers_to_its_end() -> None:
    have = Inventory(machines=(builder(),), baked=(image(1, state="pending"),))
    plan = baking.plan_bake(request(), have, "new")
    kinds = [type(step).__name__ for step in plan]
    assert kinds[:3] == ["Terminate", "DeregisterImage", "DeleteSnapshot"]
    assert kinds.index("RunInstance") < kinds.index("OverSsh") < kinds.index("StopInstance")
    assert kinds[-4:] == ["BakeImage", "AwaitImage", "EndBuilder", "EndNetwork"]
    assert "AllocateAddress" not in kinds and "AssociateAddress" not in kinds
    assert [step.sentence() for step in plan if isinstance(step, baking.OverSsh)] == [s.sentence for s in bake.STEPS]


def test_a_network_with_something_in_it_stays() -> None:
    network = {"vpcs": (Vpc("vpc-1"),), "subnets": (Subnet("subnet-1", "vpc-1", "a"),), "keys": ("k",)}
    alone = Inventory(machines=(builder(),), **network)
    assert [type(step).__name__ for step in removal.after_bake(alone)] == [
        "Terminate",
        "DeleteKey",
        "DeleteSubnet",
        "DeleteVpc",
    ]
    for other in (
        {"machines": (builder(), Machine("i-1", "t2", "stopped", "t2.micro"))},
        {"addresses": (ElasticIp("eipalloc-1", "192.0.2.7", "t2"),), "machines": (builder(),)},
    ):
        assert tuple(removal.after_bake(replace(alone, **other))) == (steps.Terminate(("i-b",)),)


def test_a_builder_is_never_the_machine_of_a_profile() -> None:
    have = Inventory(machines=(builder(), Machine("i-1", "t2", "running", "t2.micro")))
    assert [have.machine(kind) and have.machine(kind).id for kind in ("t2", "p2")] == ["i-1", None]  # type: ignore[union-attr]
    with pytest.raises(UsageError):
        types_of(BUILDER)


def test_an_image_that_was_made_is_waited_for_and_not_made_twice() -> None:
    have = Inventory(machines=(builder("stopped"),), baked=(image(0, state="pending", builder="i-b"), image(1)))
    assert baking.plan_image(have, "n", {}) == (steps.AwaitImage("ami-0"),)
    stopped = replace(have, baked=(image(1),))
    assert [type(one).__name__ for one in baking.plan_image(stopped, "n", {})] == [
        "AwaitStopped",
        "BakeImage",
        "AwaitImage",
    ]


# --- copying


def test_a_copy_is_made_once() -> None:
    mine = image(0)
    copy = replace(image(5), region="eu-west-1", copied_from="us-west-2/ami-0")
    assert [type(s).__name__ for s in baking.plan_copy(mine, "eu-west-1", [image(1)])] == ["CopyImage", "AwaitCopy"]
    assert baking.plan_copy(mine, "eu-west-1", [copy]) == ()
    pending = baking.plan_copy(mine, "eu-west-1", [replace(copy, state="pending")])
    assert pending == (baking.AwaitCopy("eu-west-1", "ami-5"),)
    with pytest.raises(UsageError):
        baking.plan_copy(mine, "us-west-2", [])
