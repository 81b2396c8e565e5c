"""The budget of a run, over its attempts."""

from __future__ import annotations

import pytest

from orchestrator.errors import GpuError, UsageError
from orchestrator.providers.base import Price, State
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
