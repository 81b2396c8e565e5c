"""The budget of a run, over its attempts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import GpuError, UsageError
from orchestrator.providers.base import Price, State
from orchestrator.remote.agent.allowance import BY_BATCHES, BY_PACE, Allowance, Estimate, Estimates
from orchestrator.verbs import spending


def test_an_interrupted_attempt_has_cost_what_it_took() -> None:
    job = {"price_per_hour": 0.9, "budget": 3.0}
    used = spending.spent(job, {"why": "spot notice", "seconds": 7200})
    assert (used, spending.rest(job, used)) == (pytest.approx(1.8), pytest.approx(1.2))
    assert spending.rest({"price_per_hour": 0.9, "budget": None}, used) is None


@pytest.mark.parametrize("noted", [None, [], {}, {"seconds": "x"}, {"seconds": -1}])
def test_garbage_has_cost_nothing(noted: object) -> None:
    assert spending.spent({"price_per_hour": 0.9}, noted) == 0


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_is_some_money(budget: float) -> None:
    with pytest.raises(UsageError, match="pays for nothing"):
        spending.check(budget)


def test_without_a_price_no_budget_is_promised() -> None:
    state = State("p2", "running", machine_type="x1.new")
    with pytest.raises(GpuError, match=r"x1\.new"):
        spending.terms(state, 3.0)
    assert spending.terms(state, None)["price_per_hour"] is None
    known = State("p2", "running", machine_type="p2.xlarge", price=Price(0.9, 13.9, "table"))
    assert spending.terms(known, 3.0)["price_per_hour"] == 0.9


def write(run: Path, *events: object) -> None:
    with (run / "metrics.jsonl").open("a") as metrics:
        metrics.write("".join(json.dumps(event) + "\n" for event in events))


def epoch(number: int) -> dict[str, object]:
    return {"event": "epoch", "epoch": number, "epochs": 100}


def test_an_estimate_goes_by_the_fit_once_that_is_known(tmp_path: Path) -> None:
    estimates = Estimates(tmp_path)
    assert estimates.new(1) is None
    write(tmp_path, {"event": "estimate", "seconds": 30}, "garbage", {"event": "epoch"}, {"event": "estimate"})
    assert estimates.new(10) == Estimate(30, BY_BATCHES)
    assert estimates.new(11) is None
    # Forty epochs of an earlier attempt are told again at once; what they took is not known.
    write(tmp_path, *map(epoch, range(1, 41)))
    assert estimates.new(20) is None
    write(tmp_path, epoch(41))
    assert estimates.new(22) is None
    write(tmp_path, *map(epoch, range(42, 51)))
    assert estimates.new(30) == Estimate(30 + 50, BY_PACE)
    (tmp_path / "metrics.jsonl").write_text("")
    assert estimates.new(31) is None


@pytest.mark.parametrize("job", [{"budget": 3}, {"price_per_hour": 1}, {"budget": "3", "price_per_hour": 1}])
def test_nothing_is_foretold_without_a_budget_and_a_price(job: dict[str, object]) -> None:
    allowance = Allowance(job)
    assert (allowance.seconds, allowance.sentence(Estimate(9, BY_PACE))) == (None, "")


def test_what_a_run_is_expected_to_cost() -> None:
    allowance = Allowance({"budget": 3, "price_per_hour": 1.5})
    within, beyond = (allowance.sentence(Estimate(seconds, BY_PACE)) for seconds in (3600, 36000))
    assert within == "expected: about 60 min, $1.50 of the budget of $3 (by the pace of the fit)"
    assert beyond.startswith("expected: about 600 min, $15.00 of the budget of $3 ")
    assert beyond.endswith(": after 120 min it is checkpointed and ended")
