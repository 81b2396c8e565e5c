"""An image baked as a person bakes it: nothing of the builder is in it, a machine begins ready with it, and a bake that
is killed leaves nothing that the next command does not remove."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import signal
import subprocess
import sys
import tarfile
import termios
from pathlib import Path

import pytest

import ami
from ami import bake

from .faults.conftest import Blow, Person, check_message, person, theatre

__all__ = ["person", "theatre"]

IMAGE = {"image": 1, "snapshot": 1}
BAKE = ("ami", "bake")
SECRET = "gpu-test-secret-4711"
LATE = ("RebootInstances", "StopInstances", "CreateImage", "TerminateInstances")
"""Calls of a bake after the machine has been made ready."""


def snapshots(person: Person) -> Path:
    return person.home / "state" / "sandbox" / "snapshots"


def leave_traces(disk: Path) -> None:
    """On the builder, as people and programs leave them."""
    for name in (
        *(
            "home/.bash_history",
            "home/.python_history",
            "home/.netrc",
            "home/.aws/credentials",
            "home/.kaggle/kaggle.json",
        ),
        *("home/.ssh/authorized_keys", "home/gpu/runs/1/log.txt", "home/gpu/data/a b/1.jpg", "home/gpu/nbs/x.ipynb"),
        *("home/gpu/cache/f", "home/gpu/code/h/x.py", "etc/ssh/ssh_host_rsa_key", "var/log/auth.log", "tmp/left over"),
        *("var/log/journal/1/system.journal", "var/lib/cloud/instances/i-1/user-data.txt", "etc/machine-id"),
        *("root/.bash_history", "var/lib/systemd/random-seed"),
    ):
        file = disk / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SECRET)


def bake_with_traces(person: Person) -> tuple[list[Blow], subprocess.CompletedProcess[str]]:
    """A bake that is held for a moment before its builder boots again, while somebody uses the builder."""
    begun = len(person.control.calls())
    person.control.set("hold", action="RebootInstances", when="before", times=1)
    process = person.start("--json", *BAKE)
    assert person.control.held(200), process.communicate()
    instances = snapshots(person).parent / "instances"
    [machine] = [one for one in instances.iterdir() if (one / "home/gpu/provision").exists()]
    keys = (machine / "etc/ssh/authorized_keys").read_text(), (machine / "etc/ssh/ssh_host_ed25519_key").read_text()
    leave_traces(machine)
    (machine / "etc/ssh/authorized_keys").write_text(keys[0])
    person.control.release()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    calls = [Blow(call["action"], 0) for call in person.control.calls(after=begun) if call["changes"]]
    for text in (keys[0].split()[1], keys[1].splitlines()[2]):
        assert_not_in(snapshots(person), text)
    return calls, subprocess.CompletedProcess(BAKE, 0, out, err)


def assert_not_in(folder: Path, text: str) -> None:
    holders = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert holders
    assert [file for file in holders if text.encode() in file.read_bytes()] == []


def check_disk(person: Person) -> None:
    """By the documented list, and by what was written there."""
    [disk] = snapshots(person).iterdir()
    assert_not_in(disk, SECRET)
    for trace in bake.TRACES:
        for path in trace.paths:
            place = disk / "home" if path.startswith("~/") else disk
            pattern = path.partition("/")[2]
            below = "/**/*" if pattern.endswith("/**") else ""
            found = list(place.glob(pattern.removesuffix("/**") + below))
            assert [one for one in found if not one.is_dir() or not pattern.endswith("**")] == [], path
    assert (disk / "etc/machine-id").read_bytes() == b""
    # And what a machine shall find ready is there.
    for name in ("usr/local/bin/gpu-selfstop", "etc/profile.d/gpu-env.sh", "etc/default/locale"):
        assert (disk / name).is_file(), name


def is_ready(person: Person) -> bool:
    """What `provision.sh` says of the machine, changing nothing."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in ami.provisioning().items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    line = "mkdir -p x && tar -xf - -C x && bash x/provision.sh machine --check"
    done = subprocess.run(
        [*_gpu(), "ssh", "-k", "t2", "--", line],
        cwd=person.folder,
        input=stream.getvalue(),
        capture_output=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode == 0


def _gpu() -> list[str]:
    return [sys.executable, "-m", "orchestrator"]


def test_an_image_from_the_oven_to_the_bin(person: Person) -> None:
    # Killed when all the work is done and the image is being made: the next bake removes what is left.
    done = person.strike(BAKE, Blow("CreateImage", 0), signal.SIGKILL, patience=200)
    assert done.returncode == -signal.SIGKILL
    assert person.census().ours["machine"] == 1
    listed = json.loads(person.gpu("--json", "audit").stdout)
    assert any("bake" in item["about"] for item in listed["items"] if item["resource"] == "instance")
    assert "a bake is at work, or was broken off" in person.gpu("ami", "ls").stdout
    person.gpu("destroy")
    assert "machine" not in person.census().ours
    person.gpu("ami", "prune", "--keep", "0")
    assert person.census().ours == {}

    calls, baked = bake_with_traces(person)
    assert {call.action for call in calls} >= {"RunInstances", *LATE}
    assert person.census().ours == IMAGE and person.census().others == person.others
    document = json.loads(baked.stdout)
    assert document["state"] == "available" and document["versions"]["accuracy"] >= bake.LEAST_ACCURACY
    assert document["usd"] > 0 and document["per_month"] > 0 and document["recipe"] == bake.recipe()
    # Whatever their types say: no machine of the sandbox has a GPU.
    assert document["kinds"] == {"p2": "", "t2": ""}
    check_disk(person)

    shelf = person.json("ami", "ls", "-k", "t2")
    assert [one["chosen"] for one in shelf["images"]] == [True] and shelf["start"]["image"] == document["image"]
    sold = person.json("cost")
    assert [one["type"] for one in sold["sessions"] if one["kind"] == "builder"].count("t3.medium") == 2
    assert sold["per_month_images"] == pytest.approx(document["per_month"], abs=0.01)
    assert "and your images: $" in person.gpu("cost").stdout
    shown = person.gpu("ami", "copy", "us-east-1", "--dry-run").stdout
    assert f"at most ${document['per_month']:.2f} a month for the image" in shown and "once for the transfer" in shown
    person.gpu("ami", "copy", "us-east-1")
    audit = person.gpu("audit").stdout
    for region in ("us-west-2", "us-east-1"):
        assert f"gpu --profile sandbox ami prune --keep 0 --region {region}\n" in audit
    assert len(person.json("ami", "ls", "--region", "us-east-1")["images"]) == 1
    copies = ("ami", "prune", "--keep", "0", "--region", "us-east-1")
    assert person.gpu(*copies).stdout == "removed 1 image and 1 snapshot\n"

    assert "no longer there" not in shelf["start"]["why"] and "that is old" not in shelf["start"]["why"]
    person.ec2.create_tags(
        Resources=[document["image"]], Tags=[{"Key": "gpu:source", "Value": "ami-0123456789abcdef0"}]
    )
    started = person.gpu("start", "-k", "t2")
    assert document["image"] in started.stderr and "your own" in started.stderr
    assert "what it was baked from, ami-0123456789abcdef0, is no longer there: bake it anew" in started.stderr
    assert is_ready(person)
    kept = person.gpu("ami", "prune", "--keep", "0")
    assert "stays" in kept.stderr and person.census().ours["image"] == 1
    person.gpu("destroy")
    assert person.census().ours == IMAGE

    person.strike(("ami", "prune", "--keep", "0"), Blow("DeregisterImage", 0), signal.SIGKILL)
    assert person.census().ours == {"snapshot": 1}
    assert person.gpu("ami", "prune", "--keep", "0").stdout == "removed 0 images and 1 snapshot\n"
    assert person.census().ours == {}
    assert list(snapshots(person).iterdir()) == []


def test_a_machine_without_an_own_image_is_told_why_and_is_not_ready(person: Person) -> None:
    started = person.gpu("start", "-k", "t2")
    assert "Deep Learning" in started.stderr and "gpu ami bake" in started.stderr
    assert not is_ready(person)


def test_a_bake_broken_off_early_leaves_nothing(person: Person) -> None:
    """Ctrl-C at once; after `kill -9`, `gpu destroy`."""
    done = person.strike(BAKE, Blow("RunInstances", 0), signal.SIGINT)
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr
    assert person.census().ours == {}
    person.strike(BAKE, Blow("AuthorizeSecurityGroupIngress", 0), signal.SIGKILL)
    person.clean()
    person.control.set("denied", action="CreateImage")
    person.control.set("vcpu-limit")
    check_message(person.suffer(*BAKE))
    assert person.census().ours == {}


def test_a_terminal_that_closes_ends_a_bake_as_ctrl_c_does(person: Person) -> None:
    person.control.set("hold", action="RunInstances", when="after", times=1)
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [*_gpu(), *BAKE],
        cwd=person.folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    assert person.control.held(60)
    assert person.census().ours["machine"] == 1
    os.close(master)
    assert process.wait(100) == 130
    assert person.census().ours == {}


def test_two_bakes_at_once_and_a_dry_run(person: Person) -> None:
    shown = person.gpu("ami", "bake", "--dry-run", "-v", "--from", "ubuntu").stdout
    assert "aws ec2 run-instances" in shown and "aws ec2 create-image" in shown
    assert " an hour (" in shown and " for the builder until it is removed; at most $" in shown
    assert (
        "not known here, see EC2's price list"
        in person.gpu("ami", "bake", "--dry-run", "--type", "p4d.24xlarge").stdout
    )
    assert subprocess.run(["bash", "-n"], input=shown, text=True, check=False).returncode == 0
    assert person.census().ours == {}
    person.control.set("hold", action="CreateVpc", when="before", times=1)
    first = person.start(*BAKE)
    assert person.control.held(60)
    refused = person.suffer(*BAKE)
    assert "another gpu" in check_message(refused)
    assert "bakes or prunes images of sandbox; waiting" in refused.stderr
    first.send_signal(signal.SIGINT)
    person.control.clear()
    first.communicate(timeout=120)
    assert person.census().ours == {}


def test_a_machine_of_ones_own_has_no_images(person: Person) -> None:
    (person.home / "config.yaml").write_text("profiles:\n  box: {provider: server, host: localhost}\n")
    for words in (BAKE, ("ami", "ls"), ("ami", "prune"), ("ami", "copy", "us-east-1")):
        assert "your own" in check_message(person.suffer(*words, "--profile", "box"))


def allowed(person: Person) -> bool:
    return person.census().ours in ({}, IMAGE)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_struck_at_every_call(person: Person, number: signal.Signals) -> None:
    log = person.record(*BAKE)
    person.gpu("ami", "prune", "--keep", "0")
    for blow in log:
        done = person.strike(BAKE, blow, number, patience=240)
        told = f"{number.name} after {blow}: exit {done.returncode}\n{done.stderr}"
        assert "Traceback" not in done.stderr, told
        if number is signal.SIGKILL:
            person.gpu("destroy")
        assert allowed(person), (told, person.census().ours)
        person.gpu("ami", "prune", "--keep", "0")
        assert person.census().ours == {}, told


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("fault", ["reply-lost", "denied", "throttle", "not-found"])
def test_every_fault_at_every_call(person: Person, fault: str) -> None:
    log = person.record(*BAKE)
    person.gpu("ami", "prune", "--keep", "0")
    for blow in log:
        options = {"skip": blow.earlier} if fault == "reply-lost" else {}
        limit = {"times": 1} if fault in ("reply-lost", "not-found") else {"times": 4}
        person.control.set(fault, action=blow.action, **options, **limit)
        done = person.suffer(*BAKE, seconds=280)
        person.control.clear()
        told = f"{fault} at {blow}: exit {done.returncode}\n{done.stderr}"
        if done.returncode:
            check_message(done)
        # What may not be removed stays, is said, and goes as soon as it may.
        person.gpu("destroy")
        assert allowed(person), (told, person.census().ours)
        person.gpu("ami", "prune", "--keep", "0")
        assert person.census().ours == {}, told


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_builder_that_goes_away_is_told_of(person: Person) -> None:
    for action in LATE[:2]:
        person.control.set("terminate", action=action, times=1, zone="us-west-2a")
        told = check_message(person.suffer(*BAKE, seconds=280))
        assert "somebody else" in told, told
        person.control.clear()
        assert person.census().ours == {}
    # A snapshot that has begun needs its disk no more.
    person.control.set("terminate", action="CreateImage", times=1, zone="us-west-2a")
    done = person.suffer(*BAKE, seconds=280)
    person.control.clear()
    assert done.returncode == 0, done.stderr
    assert person.census().ours == IMAGE
    person.gpu("ami", "prune", "--keep", "0")
    assert person.census().ours == {}
