"""What this computer remembers is lost, damaged or forged: the cloud is the truth."""

from __future__ import annotations

import json
import signal

import pytest

from .census import MACHINE
from .conftest import Blow, Person, check_message

DAMAGES = {
    "truncated": lambda text: text[: len(text) // 2],
    "emptied": lambda _: "",
    "garbage": lambda _: "\x00\xff{[",
    "of a newer version": lambda text: text.replace('"version": 1', '"version": 99'),
    "of another shape": lambda _: "[1, 2]",
}


def test_a_damaged_state_file_is_set_aside_and_the_machine_found(person: Person) -> None:
    person.gpu("init", "-k", "t2")
    machine = person.json("status", "-k", "t2")["machine"]
    person.gpu("get", "t2")
    whole = person.state_file.read_text()
    broken = person.state_file.with_suffix(".json.broken")
    for name, damage in DAMAGES.items():
        person.state_file.write_text(damage(whole))
        done = person.gpu("status", "-k", "t2", "--json")
        assert json.loads(done.stdout)["machine"] == machine, name
        assert broken.name in done.stderr, name
        assert broken.read_text() == damage(whole), name
    person.state_file.write_text(whole)
    person.state_file.unlink()
    assert person.json("start", "-k", "t2")["machine"] == machine
    assert person.census().ours == MACHINE
    person.clean()


def test_a_state_file_lost_in_the_middle_makes_no_second_machine(person: Person) -> None:
    person.strike(("start", "-k", "t2"), Blow("RunInstances", 0), signal.SIGKILL)
    person.state_file.unlink()
    person.gpu("start", "-k", "t2")
    assert person.census().ours == MACHINE
    person.clean()


@pytest.mark.parametrize("whose", ["nobody's", "a colleague's"])
def test_a_forged_state_file_gives_no_power_over_what_is_not_ours(person: Person, whose: str) -> None:
    ec2 = person.ec2
    reservations = ec2.describe_instances(Filters=[{"Name": "instance-type", "Values": ["t3.nano"]}])["Reservations"]
    machine = reservations[0]["Instances"][0]
    theirs = {"gpu:profile": "sandbox", "gpu:owner": "123456789012/user/colleague", "gpu:kind": "t2"}
    tags = [{"Key": key, "Value": value} for key, value in theirs.items()]
    if whose == "a colleague's":
        ec2.create_tags(Resources=[machine["InstanceId"]], Tags=tags)
    before = person.census()
    token = {"token": f"running {machine['InstanceId']}", "digest": machine["InstanceId"]}
    purposes = ("machine t2", "resize t2", "init t2")
    document = {"version": 1, "selected_kind": "t2", "tokens": dict.fromkeys(purposes, token)}
    person.state_file.write_text(json.dumps(document))
    known = person.home / "state" / "known_hosts"
    known.mkdir(exist_ok=True)
    (known / "sandbox-t2").write_text(f"[{machine['PublicIpAddress']}]:2222 ssh-ed25519 AAAA\n")
    try:
        for words in (("stop",), ("resize", "p2"), ("ssh", "--", "true")):
            assert "gpu start" in check_message(person.suffer(*words))
        assert "nothing to remove" in person.gpu("destroy").stdout
        assert person.census() == before
    finally:
        ec2.delete_tags(Resources=[machine["InstanceId"]], Tags=tags)
