"""Ctrl-C and `kill -9` at the very moment of each call that changes something; then the same command once more."""

from __future__ import annotations

import random
import signal

import pytest

from .conftest import Blow, Person
from .scenes import DESTROY, INIT, RESIZE_STOPPED, SCENES, Scene

SIGNALS = (signal.SIGINT, signal.SIGKILL)
KEPT_FIRST = ("RunInstances", "CreateRouteTable", "CreateImage")
"""Calls before which something is written down, so that it matters whether they were carried out. Before all others the
account is as it was after the call before them."""
CHAIN = (INIT, RESIZE_STOPPED, DESTROY)
"""Each begins where the one before it ends."""


def interrupt(person: Person, scene: Scene, blow: Blow, number: signal.Signals, when: str) -> None:
    done = person.strike(scene.command, blow, number, when=when)
    told = f"{scene.name}, {number.name} {when} {blow}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, told
    if number is signal.SIGINT:
        assert done.returncode == 130, told
        assert [line for line in done.stderr.splitlines() if line.startswith("gpu: ")] == ["gpu: interrupted"], told
    person.gpu(*scene.command)
    scene.check(person)


def test_a_sample_of_moments(person: Person) -> None:
    moments = random.Random(20)
    logs = [person.record(*scene.command) for scene in CHAIN]
    for scene, log, number in zip(CHAIN, logs, (*SIGNALS, signal.SIGINT), strict=True):
        interrupt(person, scene, moments.choice(log), number, moments.choice(["before", "after"]))
    person.clean()


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_every_moment(person: Person, scene: Scene, number: signal.Signals) -> None:
    scene.prepare(person)
    log = person.record(*scene.command)
    assert log
    scene.check(person)
    person.clean()
    for blow in log:
        for when in ("before", "after") if blow.action in KEPT_FIRST else ("after",):
            scene.prepare(person)
            interrupt(person, scene, blow, number, when)
            person.clean()
