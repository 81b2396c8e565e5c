"""`gpu sandbox fault`, as a person rehearses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.sandbox import region
from orchestrator.sandbox.control import Control
from orchestrator.sandbox.rehearsals import REHEARSALS
from orchestrator.settings import Home

from .conftest import processes_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gpu(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs one command; returns its exit code and what it said. The region that it may start is ended."""

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["sandbox", *words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    folder = Home.from_environment().sandbox
    try:
        yield run
    finally:
        region.down(folder)
    assert processes_of(folder) == {}


def test_all_that_can_be_rehearsed_is_listed_without_a_region(gpu: Run) -> None:
    code, out, _ = gpu("fault")
    assert code == 0
    for name, rehearsal in REHEARSALS.items():
        assert name in out and rehearsal.about in out
    assert "ACTIVE" not in out
    assert region.find(Home.from_environment().sandbox) is None
    listed = json.loads(gpu("fault", "--json")[1])["faults"]
    assert [one["name"] for one in listed] == list(REHEARSALS)
    assert gpu("fault", "clear")[:2] == (0, "there was none to clear\n")


def test_a_person_sets_sees_and_clears_faults(gpu: Run) -> None:
    code, out, _ = gpu("fault", "throttle", "--action", "RunInstances", "--times", "3")
    assert (code, out.splitlines()[-1]) == (
        0,
        "throttle at RunInstances, 3 times more, struck 0 so far; end it with: gpu sandbox fault clear throttle",
    )
    gpu("fault", "no-capacity", "--zone", "us-west-2a", "--type", "p2.*")
    gpu("fault", "latency", "--seconds", "0.5")
    _, out, _ = gpu("fault")
    assert [line.strip() for line in out.splitlines() if "ACTIVE" in line] == [
        "ACTIVE: throttle at RunInstances, 3 times more, struck 0 so far",
        "ACTIVE: no-capacity in us-west-2a of p2.*, until cleared, struck 0 so far",
        "ACTIVE: latency for 0.5 s, until cleared, struck 0 so far",
    ]
    assert gpu("fault", "clear", "latency")[:2] == (0, "1 cleared\n")
    found = region.find(Home.from_environment().sandbox)
    assert found is not None
    assert [one["name"] for one in Control(found.endpoint_url).faults()] == ["throttle", "no-capacity"]
    assert json.loads(gpu("fault", "clear", "--json")[1]) == {"cleared": 2}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["throtle"], "Did you mean throttle"),
        (["clear", "nothing-of-that"], "there is no fault nothing-of-that"),
        (["--times", "3"], "belongs to the name of a fault"),
        (["throttle", "latency"], "One fault at a time"),
        (["throttle", "--times", "0"], "0"),
        (["latency", "--seconds", "soon"], "soon"),
    ],
)
def test_a_slip_is_wrong_usage_and_changes_nothing(gpu: Run, words: list[str], says: str) -> None:
    code, out, err = gpu("fault", *words)
    assert (code, out) == (2, "")
    assert says in err
    assert region.find(Home.from_environment().sandbox) is None


def test_what_the_region_refuses_is_said_in_one_line(gpu: Run) -> None:
    for words, says in (
        (["terminate"], "there is no instance for terminate to strike"),
        (["clock-skew", "--action", "X"], "the fault clock-skew takes no action"),
    ):
        code, _, err = gpu("fault", *words)
        last: Any = err.splitlines()[-1]
        assert code == 2 and says in last and last.endswith("See: gpu sandbox fault")
