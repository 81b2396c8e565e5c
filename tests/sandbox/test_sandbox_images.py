"""Images baked, kept, copied and removed in a region where each takes its time, interrupted at every call."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ami import bake
from orchestrator.errors import UsageError
from orchestrator.providers.aws import policy
from orchestrator.providers.aws.imaging import Workshop
from orchestrator.providers.base import BakeWish, HasImages, MachineImage, Pruned, Wish
from orchestrator.remote import ssh
from orchestrator.sandbox import region
from orchestrator.settings import Home, Profile

from ..faults.census import take
from ..providers.conftest import Cloud
from ..providers.test_policy import Guard

ELSEWHERE = "us-east-1"
LABELS = {"environment": bake.environment_for(None), "recipe": bake.recipe()}
QUICK = BakeWish(machine_type="t2.micro", source="ubuntu")


class Struck(BaseException):
    """As Ctrl-C, but of the test's own."""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("images") / "box"
    patch = pytest.MonkeyPatch()
    patch.setenv("GPU_SANDBOX_DELAY", "0.3")
    yield folder, region.up(folder, lambda _: None).endpoint_url
    region.down(folder, purge=True)
    patch.undo()


@pytest.fixture
def cloud(box: tuple[Path, str], tmp_path: Path) -> Iterator[Cloud]:
    home = Home(tmp_path / "home", tmp_path / "home/state", tmp_path / "home/cache")
    one = Cloud(box[1], home, Profile("images", emulated=True, ssh_port=2222))
    yield one
    one.interrupt = lambda _number, _when: None
    clean(one)


def shop(cloud: Cloud, watch: Callable[..., None] | None = None) -> Workshop:
    provider = cloud.provider()
    assert isinstance(provider, HasImages)
    made = provider.imaging()
    assert isinstance(made, Workshop)
    elsewhere = provider._session.elsewhere

    def hooked(name: str) -> Any:
        other = elsewhere(name)
        for client in (other.ec2, other.ec2_once):
            client.meta.events.register("provide-client-params.ec2.*", cloud._before)
            client.meta.events.register("after-call.ec2.*", cloud._after)
        return other

    provider._session.elsewhere = hooked  # type: ignore[method-assign]
    for client in (provider._session.ec2, provider._session.ec2_once) if watch else ():
        client.meta.events.register("provide-client-params.ec2.*", watch)
    return made


def make(work: Workshop, told: Callable[[float], None] = lambda _: None) -> MachineImage:
    """A bake without what is done over SSH."""
    work.make_builder(work.plan_bake(QUICK))
    work.reboot()
    return work.make_image({**LABELS, "source": work.source()[0]}, told)


def baked(cloud: Cloud) -> MachineImage:
    work = shop(cloud)
    found = make(work)
    work.clear()
    return found


def clean(cloud: Cloud) -> None:
    work = shop(cloud)
    work.prune(work.plan_prune(0)[0])
    cloud.remove()
    for name in ("us-west-2", ELSEWHERE):
        ec2 = other(cloud, name)
        for one in ec2.describe_images(Owners=["self"])["Images"]:
            ec2.deregister_image(ImageId=one["ImageId"])
            for disk in one["BlockDeviceMappings"]:
                ec2.delete_snapshot(SnapshotId=disk["Ebs"]["SnapshotId"])


def other(cloud: Cloud, name: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client("ec2", endpoint_url=cloud.endpoint, region_name=name, **keys)


def baked_snapshots(ec2: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ec2.describe_snapshots(Filters=[{"Name": "tag-key", "Values": ["gpu:role"]}])[
        "Snapshots"
    ]
    return found


def ours(cloud: Cloud) -> dict[str, int]:
    return dict(take(cloud.client).ours)


IMAGE = {"image": 1, "snapshot": 1}


def test_a_whole_life_of_an_image(cloud: Cloud, box: tuple[Path, str]) -> None:
    """Within the policy at every call; beside the profile's own machine, which it leaves alone."""
    before = cloud.start()
    own = cloud.provider().state()
    network = ours(cloud)
    guard = Guard(cloud.client)
    work = shop(cloud, guard)
    told: list[float] = []
    made = make(work, told.append)
    [asked] = [params for name, params in cloud.calls if name == "RunInstances" and "t2.micro" in params.values()][1:]
    card = asked["NetworkInterfaces"][0]
    assert card["AssociatePublicIpAddress"] is True and "DisableApiTermination" not in asked
    assert asked["ClientToken"] and asked["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert told[0] == 50 and told[-1] == 100
    assert (made.state, made.environment, made.recipe) == ("available", LABELS["environment"], LABELS["recipe"])
    assert made.source and made.builder and made.builder != own.machine_id
    tagged = [
        spec["ResourceType"] for name, p in cloud.calls if name == "CreateImage" for spec in p["TagSpecifications"]
    ]
    assert tagged == ["image", "snapshot"]
    work.clear()
    work.clear()
    assert ours(cloud) == {**network, **IMAGE}
    assert cloud.provider().state() == own and cloud.provider().address() == before
    # A machine of the other kind begins with it; it says so, and why.
    plan = cloud.provider("p2").plan(Wish("p2", "g5.xlarge"))
    assert any(made.id in sentence and "your own" in sentence for sentence in plan.sentences())
    copied = work.copy(work.plan_copy(ELSEWHERE, None), told.append)
    work.prune(work.plan_prune(0)[0])
    assert ours(cloud) == network
    assert guard.refused == []
    wanted = {"RebootInstances", "CreateImage", "CopyImage", "DeregisterImage", "DeleteSnapshot"}
    assert {f"ec2:{name}" for name in wanted - {"CopyImage"}} <= guard.asked
    assert {f"ec2:{name}" for name in wanted} <= policy.calls()
    # What the copy is of is gone by now; it is whole all the same.
    folder = box[0] / "snapshots"
    assert (folder / copied.snapshots[0] / "home").is_dir() and not (folder / made.snapshots[0]).exists()


def test_a_copy_is_there_once_and_encrypted(cloud: Cloud) -> None:
    found = baked(cloud)
    work = shop(cloud)
    plan = work.plan_copy(ELSEWHERE, found.id)
    first, again = work.copy(plan, lambda _: None), work.copy(plan, lambda _: None)
    assert first.id == again.id and not work.plan_copy(ELSEWHERE, None).steps
    assert (first.environment, first.copied_from) == (found.environment, f"us-west-2/{found.id}")
    ec2 = other(cloud, ELSEWHERE)
    [snapshot] = baked_snapshots(ec2)
    assert snapshot["Encrypted"] and snapshot["SnapshotId"] == first.snapshots[0]
    assert {tag["Key"] for tag in snapshot["Tags"]} >= {"gpu:profile", "gpu:owner", "gpu:version", "gpu:role"}
    # By what region and what profile it is seen, by that it goes; but for what another profile is still making.
    east = shop(Cloud(cloud.endpoint, cloud.home, Profile("east", region=ELSEWHERE, emulated=True, ssh_port=2222)))
    there = work.elsewhere(ELSEWHERE)
    assert [one.id for one in there.images()] == [one.id for one in east.images()] == [first.id]
    assert there.plan_prune(0)[0].sentences() == east.plan_prune(0)[0].sentences()
    [running] = ec2.run_instances(ImageId=first.id, MinCount=1, MaxCount=1, InstanceType="t2.micro")["Instances"]
    tags = [{"Key": tag["Key"], "Value": tag["Value"]} for tag in snapshot["Tags"] if tag["Key"] == "gpu:owner"]
    ec2.create_tags(Resources=[running["InstanceId"]], Tags=[*tags, {"Key": "gpu:profile", "Value": "third"}])
    assert running["InstanceId"] in there.plan_prune(0)[1][0]
    ec2.terminate_instances(InstanceIds=[running["InstanceId"]])
    _until(lambda: bool(east.plan_prune(0)[0].steps))
    assert east.prune(east.plan_prune(0)[0]) == Pruned(images=1, snapshots=1)
    assert list(there.images()) == [] and baked_snapshots(ec2) == []
    seen = strike_at(cloud, "CopyImage", "after")
    with pytest.raises(Struck):
        work.copy(plan, lambda _: None)
    assert seen and [one.state for one in east.images()] == ["pending"] and east.plan_prune(0)[0].steps == ()
    assert there.plan_prune(0)[0].steps
    with pytest.raises(UsageError, match="no region us-east-7"):
        work.elsewhere("us-east-7")


@pytest.mark.parametrize("state", ["pending", "lost"])
def test_an_image_that_is_not_finished_goes_with_all_of_it(cloud: Cloud, state: str, box: tuple[Path, str]) -> None:
    """`lost`: the image is gone, and its snapshot was left."""
    work = shop(cloud)
    seen = strike_at(cloud, "CreateImage", "after")
    with pytest.raises(Struck):
        make(work)
    assert seen and ours(cloud)["image"] == 1
    if state == "lost":
        [one] = cloud.client.describe_images(Owners=["self"])["Images"]
        cloud.client.deregister_image(ImageId=one["ImageId"])
    cloud.remove()
    assert ours(cloud) == {} or (state == "pending" and ours(cloud) == IMAGE)
    assert list((box[0] / "snapshots").glob("snap-*")) == [] or ours(cloud) == IMAGE


def strike_at(cloud: Cloud, action: str, when: str) -> list[str]:
    """From now on the first call of the action is struck, before it is made or after."""
    seen: list[str] = []

    def strike(_number: int, moment: str) -> None:
        if not seen and moment == when and cloud.calls[-1][0] == action:
            seen.append(action)
            raise Struck

    cloud.interrupt = strike
    return seen


def moments(cloud: Cloud, act: Callable[[], object]) -> list[tuple[int, str]]:
    """Every moment of what is done: the number of its call, before or after it is made."""
    cloud.calls.clear()
    act()
    return [(number, when) for number in range(1, len(cloud.calls) + 1) for when in ("before", "after")]


def struck(cloud: Cloud, moment: tuple[int, str], act: Callable[[], object]) -> None:
    def strike(number: int, when: str) -> None:
        if (number, when) == moment:
            raise Struck

    cloud.calls.clear()
    cloud.interrupt = strike
    with pytest.raises(Struck):
        act()
    cloud.interrupt = lambda _number, _when: None


def bake_struck(cloud: Cloud, moment: tuple[int, str]) -> None:
    """Killed there: by the next bake's own hand, or by destroy, nothing is left but an image that is whole."""
    struck(cloud, moment, lambda: make(shop(cloud)))
    if moment[0] % 2:
        shop(cloud).clear()
    else:
        cloud.remove()
    left = ours(cloud)
    assert left in ({}, IMAGE), (moment, left)
    for image in shop(cloud).images():
        assert image.state == "available", moment
    clean(cloud)
    assert ours(cloud) == {}, moment


def test_a_bake_killed_at_some_calls_leaves_nothing(cloud: Cloud) -> None:
    every = moments(cloud, lambda: make(shop(cloud)))
    clean(cloud)
    for moment in random.Random(7).sample(every, 3):
        bake_struck(cloud, moment)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_bake_killed_at_any_call_leaves_nothing(cloud: Cloud) -> None:
    every = moments(cloud, lambda: make(shop(cloud)))
    clean(cloud)
    for moment in every:
        bake_struck(cloud, moment)


def prune_and_copy_struck(cloud: Cloud, choose: Callable[[list[tuple[int, str]]], list[tuple[int, str]]]) -> None:
    baked(cloud)

    def copy() -> None:
        work = shop(cloud)
        work.copy(work.plan_copy(ELSEWHERE, None), lambda _: None)

    def prune() -> None:
        work = shop(cloud)
        work.prune(work.plan_prune(0)[0])

    copies = moments(cloud, copy)
    for moment in choose(copies):
        forget(cloud)
        struck(cloud, moment, copy)
        copy()
        assert len(other(cloud, ELSEWHERE).describe_images(Owners=["self"])["Images"]) == 1, moment
        assert len(baked_snapshots(other(cloud, ELSEWHERE))) == 1, moment
    shop(cloud).clear_copies(ELSEWHERE)
    assert len(other(cloud, ELSEWHERE).describe_images(Owners=["self"])["Images"]) == 1
    prunes = moments(cloud, prune)
    assert ours(cloud) == {}
    for moment in choose(prunes):
        baked(cloud)
        struck(cloud, moment, prune)
        prune()
        assert ours(cloud) == {}, moment


def forget(cloud: Cloud) -> None:
    """The copy goes, so that it can be made again."""
    ec2 = other(cloud, ELSEWHERE)
    for one in ec2.describe_images(Owners=["self"])["Images"]:
        ec2.deregister_image(ImageId=one["ImageId"])
    for one in baked_snapshots(ec2):
        ec2.delete_snapshot(SnapshotId=one["SnapshotId"])


def test_copy_and_prune_killed_at_some_calls(cloud: Cloud) -> None:
    dice = random.Random(11)
    prune_and_copy_struck(cloud, lambda every: dice.sample(every, 1))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_copy_and_prune_killed_at_any_call(cloud: Cloud) -> None:
    prune_and_copy_struck(cloud, lambda every: every)


def test_a_builder_that_was_forgotten_is_gone_when_it_stops_itself(cloud: Cloud) -> None:
    work = shop(cloud)
    address = work.make_builder(work.plan_bake(QUICK))
    with ssh.connect(address, wait=60) as connection:
        connection.run("(sleep 0.5; sudo shutdown -h now) >/dev/null 2>&1 &", timeout=20)
    _until(lambda: work.builder().phase == "absent")
    assert "machine" not in ours(cloud)


def test_a_copy_of_a_disk_is_gone_with_its_snapshot(cloud: Cloud, box: tuple[Path, str]) -> None:
    """Deleted while it is still being written, nothing of it comes back."""
    ec2, work = cloud.client, shop(cloud)
    work.make_builder(work.plan_bake(QUICK))
    machine = work.builder().machine_id
    disk = box[0] / "instances" / str(machine) / "home"
    for number in range(60):
        (disk / f"{number}.bin").write_bytes(bytes(1 << 20))
    ec2.stop_instances(InstanceIds=[machine])
    _until(lambda: work.builder().phase == "stopped")
    before = {one["SnapshotId"] for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    image = ec2.create_image(InstanceId=machine, Name="one")["ImageId"]
    made = {one["SnapshotId"] for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    [snapshot] = made - before
    ec2.deregister_image(ImageId=image)
    ec2.delete_snapshot(SnapshotId=snapshot)
    _until(lambda: not (box[0] / "snapshots" / snapshot).exists())


def _until(true: Callable[[], bool]) -> None:
    import time

    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
