"""`gpu cost` beside real machines of the sandbox: what they ran is on the bill, however they ended."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from .conftest import Evening

REASONABLE = 120.0
"""Seconds that one session of these tests may seem to have lasted."""


def sessions(evening: Evening) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = evening.json("cost")["sessions"]
    return found


def seconds(session: dict[str, Any]) -> float:
    return (datetime.fromisoformat(session["ended"]) - datetime.fromisoformat(session["began"])).total_seconds()


def await_phase(evening: Evening, phase: str) -> None:
    deadline = time.monotonic() + 30
    while evening.json("status")["phase"] != phase:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def configure(text: str) -> Path:
    file = Path(os.environ["GPU_HOME"]) / "config.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_every_session_is_on_the_bill_however_it_ended(evening: Evening) -> None:
    assert evening.json("cost")["total"] == 0
    evening.gpu("start")
    [running] = sessions(evening)
    assert (running["type"], running["ended"], running["per_hour"]) == ("p2.xlarge", None, 0.9)
    # Its own connection goes down with it, sooner or later.
    evening.start("ssh", "--", "sudo shutdown now").communicate(timeout=60)
    await_phase(evening, "stopped")
    [ended] = sessions(evening)
    assert ended["began"] == running["began"]
    assert 0 <= seconds(ended) < REASONABLE
    evening.gpu("start")
    evening.gpu("destroy")
    report = evening.json("cost")
    assert len(report["sessions"]) == 2
    assert {charge["ended"] is None for charge in (*report["sessions"], *report["kept"])} == {False}
    assert sorted(charge["what"] for charge in report["kept"]) == ["address", "disk"]
    assert (report["per_hour_now"], report["paid"]) == (0, 0)
    assert abs(report["total"] - sum(report["months"].values())) < 0.001
    assert 2 * 0.015 <= report["total"] < 2 * 0.015 + 0.02
    text = evening.gpu("cost").stdout
    assert "nothing was paid: this is the sandbox" in text
    assert "left on: $670.89 a month (730 hours)" in text


@pytest.mark.slow
def test_a_machine_that_vanished_costs_no_more(evening: Evening) -> None:
    """The region lives in memory: what was in it is gone after `down`, as after a terminate in the console."""
    evening.gpu("start")
    evening.gpu("sandbox", "down")
    report = evening.json("cost")
    [session] = report["sessions"]
    assert session["at_most"]
    assert report["per_hour_now"] == 0


def test_a_spent_budget_starts_nothing(evening: Evening) -> None:
    file = configure("profiles: {sandbox: {budget: 0.01}}")
    evening.gpu("start")
    evening.gpu("stop")
    said = evening.gpu("start", code=1).stderr
    assert "the budget of the profile sandbox is spent: $0.0" in said
    assert f"Raise `budget:` of sandbox in {file}" in said
    assert evening.json("status")["phase"] == "stopped"
    assert evening.json("cost")["rest"] == 0
