"""What `gpu destroy` may not take with it: what nobody knew of when it was asked for, and what was not meant."""

from __future__ import annotations

import shutil

from trainer.run_folder import new_run_id

from .census import MACHINE
from .conftest import Person, check_message

START = ("start", "-k", "t2")


def finished_run(person: Person) -> str:
    """One that this computer does not know of."""
    run_id = new_run_id("dogs")
    person.gpu(
        "ssh",
        "-k",
        "t2",
        "--",
        f"mkdir -p gpu/runs/{run_id} && cd gpu/runs/{run_id} && echo 0 >exit_code && sha256sum exit_code >SHA256SUMS",
    )
    return run_id


def protected(person: Person) -> bool:
    mine = [{"Name": "tag-key", "Values": ["gpu:kind"]}, {"Name": "instance-state-name", "Values": ["running"]}]
    [machine] = person.ec2.describe_instances(Filters=mine)["Reservations"]
    about = person.ec2.describe_instance_attribute(
        InstanceId=machine["Instances"][0]["InstanceId"], Attribute="disableApiTermination"
    )
    return bool(about["DisableApiTermination"]["Value"])


def test_what_nobody_knew_of_is_kept(person: Person) -> None:
    """A run of another computer, and one that came into being after the question."""
    person.gpu(*START)
    known = finished_run(person)
    assert known in check_message(person.suffer("destroy"))
    person.control.set("hold", action="ModifyInstanceAttribute", when="before", times=1)
    removal = person.start("destroy", "--abandon")
    assert person.control.held(60)
    new = finished_run(person)
    person.control.clear()
    _, err = removal.communicate(timeout=60)
    assert removal.returncode == 1 and new in err and known not in err and "gpu pull" in err, err
    assert person.census().ours == MACHINE
    assert protected(person)
    assert person.json("pull")
    # Home is home, wherever that was.
    shutil.move(person.folder / "runs", person.folder / "elsewhere")
    person.gpu("destroy")
    assert person.census().ours == {}


def test_a_machine_that_cannot_be_entered_can_be_removed(person: Person) -> None:
    """And is not started, since that would be paid for."""
    person.gpu("init", "-k", "t2")
    (person.home / "keys" / "sandbox-t2-host.pub").unlink()
    assert "gpu destroy" in check_message(person.suffer(*START))
    assert person.json("status", "-k", "t2")["phase"] == "stopped"
    assert "could not be asked for its runs" in person.gpu("destroy").stderr
    assert person.census().ours == {}
