"""Every fault at every call where it can strike: gpu copes by itself, or says in one message what to do."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.sandbox.newborn import BIRTHS
from orchestrator.sandbox.rehearsals import REHEARSALS

from .conftest import Blow, Person, check_message
from .scenes import DESTROY, INIT, RESIZE, RESIZE_SPOT, START_STOPPED, Scene

BEGIN = ("RunInstances", "StartInstances")
"""Calls after which a machine begins to run."""
GOES_ON_WITHOUT = ("GetProducts", "DescribeSpotPriceHistory", "GetServiceQuota", "GetAWSDefaultServiceQuota")
"""What is known in another way, too, or told by the call that it is about: prices and quotas."""
NOT_REFUSED = ("GetCallerIdentity",)
SCENES = (INIT, START_STOPPED, RESIZE, RESIZE_SPOT, DESTROY)


@dataclass(frozen=True)
class Stroke:
    """One fault at one call, and what must come of it: a word of the message, or none where gpu copes."""

    options: Mapping[str, Any]
    word: str | None = None
    again: bool = True
    """The same command, once the fault is over, comes to its end."""

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.options.items())


Log = list[Blow]


def reply_lost(log: Log, changes: Log) -> Iterator[Stroke]:
    del log
    for blow in changes:
        yield Stroke({"action": blow.action, "skip": blow.earlier, "times": 1})


def throttle(log: Log, changes: Log) -> Iterator[Stroke]:
    for action in actions(log):
        yield Stroke({"action": action}, None if action in GOES_ON_WITHOUT else "patience")
    for action in actions(changes):
        yield Stroke({"action": action, "times": 2})


def denied(log: Log, changes: Log) -> Iterator[Stroke]:
    del changes
    for action in actions(log):
        if action not in NOT_REFUSED:
            yield Stroke({"action": action}, None if action in GOES_ON_WITHOUT else "administrator")


def not_found(log: Log, changes: Log) -> Iterator[Stroke]:
    del log
    for blow in changes:
        if blow.action in BIRTHS:
            yield Stroke({"action": blow.action, "seconds": 2})


def no_capacity(log: Log, changes: Log) -> Iterator[Stroke]:
    del log
    for action in beginnings(changes):
        yield Stroke({}, "Try again later|later")
        if action == "RunInstances":
            yield Stroke({"zone": "us-west-2a"}, None)


def vcpu_limit(log: Log, changes: Log) -> Iterator[Stroke]:
    del log
    for _ in beginnings(changes):
        yield Stroke({}, "gpu quota")


def stuck_pending(log: Log, changes: Log) -> Iterator[Stroke]:
    del log
    for _ in beginnings(changes):
        yield Stroke({}, "still pending")


def terminate(log: Log, changes: Log) -> Iterator[Stroke]:
    del log
    # Not before there is a machine, and not the bystander's, which is in another zone.
    first = next((n for n, blow in enumerate(changes) if blow.action in (*BEGIN, "StopInstances")), len(changes))
    for blow in changes[first:]:
        options = {"action": blow.action, "skip": blow.earlier, "times": 1, "zone": "us-west-2a"}
        yield Stroke(options, "gpu start", again=False)


def clock_skew(log: Log, changes: Log) -> Iterator[Stroke]:
    del log, changes
    yield Stroke({"seconds": 3600}, "clock")
    yield Stroke({"seconds": -3600}, "clock")


def latency(log: Log, changes: Log) -> Iterator[Stroke]:
    del log, changes
    yield Stroke({"seconds": 0.2})


STROKES: Mapping[str, Callable[[Log, Log], Iterator[Stroke]]] = {
    "reply-lost": reply_lost,
    "throttle": throttle,
    "denied": denied,
    "not-found": not_found,
    "no-capacity": no_capacity,
    "vcpu-limit": vcpu_limit,
    "stuck-pending": stuck_pending,
    "terminate": terminate,
    "clock-skew": clock_skew,
    "latency": latency,
}


def actions(log: Log) -> list[str]:
    return list(dict.fromkeys(blow.action for blow in log))


def beginnings(changes: Log) -> list[str]:
    return [action for action in actions(changes) if action in BEGIN]


def suffer(person: Person, scene: Scene, name: str, stroke: Stroke) -> bool:
    """The command under the fault: it copes (True), or says what to do; nothing is there twice, nothing of others
    touched."""
    person.control.set(name, **stroke.options)
    done = person.suffer(*scene.command)
    struck = any(fault["struck"] for fault in person.control.faults())
    person.control.clear()
    told = f"{scene.name} under {name} {stroke}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    census = person.census()
    assert census.others == person.others, told
    most = {**dict.fromkeys(census.ours, 2 if scene is RESIZE_SPOT else 1), "image": 1, "snapshot": 1}
    assert all(count <= most[sort] for sort, count in census.ours.items()), (told, census.ours)
    if done.returncode == 0 and (stroke.word is None or not struck):
        return True
    message = check_message(done)
    assert stroke.word and any(word in message for word in stroke.word.split("|")), told
    return False


def test_every_fault_is_struck_with() -> None:
    # hold is what the interruptions are made of; spot-notice has its own test.
    assert {*STROKES, "hold", "spot-notice"} == set(REHEARSALS)


def test_a_sample_of_faults(person: Person) -> None:
    moments = random.Random(4)
    changes = person.record(*INIT.command)
    removals = person.record(*DESTROY.command)
    births = [blow.action for blow in changes if blow.action in BIRTHS]
    for name, stroke in (
        ("denied", Stroke({"action": moments.choice(changes).action}, "administrator")),
        ("no-capacity", Stroke({}, "later")),
        ("vcpu-limit", Stroke({}, "gpu quota")),
        ("reply-lost", Stroke({"action": "RunInstances", "times": 1})),
    ):
        suffer(person, INIT, name, stroke)
    person.gpu(*INIT.command)
    INIT.check(person)
    blow = moments.choice(removals)
    suffer(person, DESTROY, "denied", Stroke({"action": "TerminateInstances"}, "administrator"))
    suffer(person, DESTROY, "reply-lost", Stroke({"action": blow.action, "skip": blow.earlier, "times": 1}))
    person.clean()
    suffer(person, INIT, "not-found", Stroke({"action": moments.choice(births), "seconds": 2}))
    INIT.check(person)


@pytest.mark.slow
@pytest.mark.parametrize("name", STROKES)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_every_fault_at_every_call(person: Person, scene: Scene, name: str) -> None:
    """In the order of the calls: a command that was refused at one of them is tried again, and refused at the next."""
    scene.prepare(person)
    log, changes = person.log(*scene.command)
    person.clean()
    begun = False
    for stroke in STROKES[name](log, changes):
        if not begun:
            scene.prepare(person)
        copes = suffer(person, scene, name, stroke)
        if copes:
            scene.check(person)
        begun = stroke.again and not copes
        if not begun:
            person.clean()
    if begun:
        person.gpu(*scene.command)
        scene.check(person)
        person.clean()
