"""A machine that is taken away, does not come, or cannot be had."""

from __future__ import annotations

import signal
import time

import pytest

from orchestrator.ledger import Ledger
from trainer.run_folder import new_run_id

from .census import MACHINE, SPOT
from .conftest import Blow, Person, check_message

START = ("start", "-k", "t2")


def phase(person: Person) -> str:
    return str(person.json("status", "-k", "t2")["phase"])


def test_what_a_machine_that_is_gone_has_left_is_told(person: Person) -> None:
    person.gpu("init", "-k", "t2")
    assert "go on costing $13.89 a month" in person.gpu("status", "-k", "t2").stdout
    run_id = new_run_id("dogs")
    Ledger(person.home / "state" / "unfetched" / "sandbox").add(run_id, kind="t2", runs=person.folder)
    person.control.set("terminate", type="t2.micro")
    deadline = time.monotonic() + 30
    while phase(person) != "absent":
        assert time.monotonic() < deadline
    person.control.clear()
    stop = person.suffer("stop", "-k", "t2")
    assert check_message(stop)
    for told in (person.gpu("status", "-k", "t2").stdout, stop.stderr):
        assert "goes on costing $3.65 a month" in told
        assert f"lost with the machine: {run_id}" in told and "gpu destroy --abandon" in told
    message = check_message(person.suffer("destroy"))
    assert run_id in message and "machine, which is gone" in message and "gpu pull" not in message
    person.clean()


@pytest.mark.parametrize("action", ["RunInstances", pytest.param("AssociateAddress", marks=pytest.mark.slow)])
def test_terminated_while_it_starts(person: Person, action: str) -> None:
    person.control.set("terminate", action=action, times=1, type="t2.micro")
    began = time.monotonic()
    assert "gpu start" in check_message(person.suffer(*START))
    assert time.monotonic() - began < 60
    person.gpu(*START)
    assert person.census().ours == MACHINE
    person.clean()


def test_killed_at_its_birth_and_terminated_by_another_a_new_one_is_made(person: Person) -> None:
    """EC2 refuses the client token that was written down for the first one."""
    person.strike(START, Blow("RunInstances", 0), signal.SIGKILL)
    person.control.set("terminate", type="t2.micro")
    deadline = time.monotonic() + 30
    while person.census().ours.get("volume"):
        assert time.monotonic() < deadline
    person.gpu(*START)
    assert person.census().ours == MACHINE
    person.clean()


@pytest.mark.slow
def test_terminated_while_it_stops_or_changes(person: Person) -> None:
    for words, action in ((("stop", "-k", "t2"), "StopInstances"), (("resize", "p2", "-k", "t2"), "StopInstances")):
        person.gpu(*START)
        person.control.set("terminate", action=action, times=1, type="t2.micro")
        message = check_message(person.suffer(*words))
        assert "terminated by somebody else" in message and "gpu start" in message
    person.gpu(*START)
    assert person.census().ours == MACHINE
    person.clean()


def test_stuck_pending_it_gives_up_and_goes_on_later(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_MACHINE_SECONDS", "2")
    person.control.set("stuck-pending", type="t2.micro")
    done = person.suffer(*START)
    assert "still pending after 2 seconds" in check_message(done)
    assert "runs at $0.0116 an hour" in done.stderr and "`gpu stop` ends it" in done.stderr
    noted = person.home / "state" / "sessions" / "sandbox" / "ran"
    assert len(list(noted.glob("*.json"))) == 1
    person.control.clear()
    person.control.set("denied", action="AssociateAddress")
    done = person.suffer(*START)
    assert "administrator" in check_message(done)
    assert "runs at $0.0116 an hour" in done.stderr
    person.control.clear()
    person.gpu(*START)
    assert person.census().ours == MACHINE
    person.clean()


def test_what_a_stopped_machine_cannot_be_is_told_with_what_it_can(person: Person) -> None:
    person.gpu("init", "-k", "t2")
    begun = len(person.control.calls())
    message = check_message(person.suffer("resize", "g4dn.12xlarge", "-k", "t2"))
    assert "48 vCPUs" in message and "gpu quota --request" in message and "Nothing was changed" in message
    assert not [call for call in person.control.calls(after=begun) if call["changes"]]
    person.control.set("no-capacity", type="t2.micro")
    began = time.monotonic()
    message = check_message(person.suffer(*START))
    assert time.monotonic() - began < 20
    for word in ("us-west-2a has no t2.micro", "us-west-2b", "t3.micro", "gpu resize"):
        assert word in message
    person.gpu("resize", "t3.micro", "-k", "t2")
    person.gpu(*START)
    assert person.census().ours == MACHINE
    person.clean()


def test_spot_that_cannot_be_had_offers_on_demand_at_its_price(person: Person) -> None:
    for fault in ("no-capacity", "vcpu-limit"):
        person.control.set(fault, type="t2.micro")
        message = check_message(person.suffer(*START, "--spot"))
        assert "--no-spot" in message and "$0.0116" in message
        person.control.clear()
    person.gpu(*START, "--no-spot")
    assert person.census().ours == MACHINE
    person.clean()


@pytest.mark.slow
def test_a_spot_machine_that_was_taken_back_starts_again(person: Person) -> None:
    person.gpu(*START, "--spot")
    person.gpu("ssh", "-k", "t2", "--", "echo kept > kept")
    person.control.set("spot-notice", seconds=0)
    deadline = time.monotonic() + 60
    while phase(person) != "stopped":
        assert time.monotonic() < deadline
    person.control.set("no-capacity", type="t2.micro")
    assert "EC2 has taken the spot machine" in check_message(person.suffer(*START, seconds=180))
    person.control.clear()
    deadline = time.monotonic() + 120
    while person.suffer(*START, seconds=180).returncode:
        assert time.monotonic() < deadline
    assert person.gpu("ssh", "-k", "t2", "--", "cat kept").stdout == "kept\n"
    assert person.census().ours == SPOT
    person.clean()
