"""What one run may cost, agreed with the machine before it begins: the machine ends it, wherever this computer is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import GpuError, RunFailed, UsageError
from ..providers.base import State

BUDGET = "budget"
"""The machine's word for why it interrupted a run."""
LAUNCHED = "launched"


class BudgetSpent(RunFailed):
    def __init__(self, run_id: str, budget: float) -> None:
        super().__init__(
            f"{run_id} was ended when its budget of ${budget:g} was spent; what is done is kept",
            f"Go on from there with: gpu train --resume {run_id} --budget USD",
        )


def check(budget: float | None) -> None:
    if budget is not None and not (math.isfinite(budget) and budget > 0):
        raise UsageError(f"a budget of ${budget:g} pays for nothing", "Give more than 0")


def spent(job: Mapping[str, Any], interruption: object) -> float:
    """US dollars of the attempt that was interrupted; 0 where nothing of it is known."""
    noted = interruption.get("seconds") if isinstance(interruption, dict) else None
    price = job.get("price_per_hour")
    if not isinstance(noted, (int, float)) or not isinstance(price, (int, float)):
        return 0.0
    return max(0.0, noted / 3600 * price)


def rest(job: Mapping[str, Any], dollars: float) -> float | None:
    """What is left of a run's budget for its next attempt; None where it has none."""
    budget = job.get("budget")
    return round(budget - dollars, 6) if isinstance(budget, (int, float)) else None


def terms(state: State, budget: float | None) -> dict[str, Any]:
    """What `job.json` has of the machine and its price. GpuError where a budget cannot be kept: no price is known."""
    if budget is not None and state.price is None:
        raise GpuError(
            f"the price of {state.machine_type or 'this machine'} is not known, so a budget cannot be kept",
            "Leave --budget out",
        )
    return {
        "machine": state.machine_type,
        "spot": state.spot,
        "price_per_hour": state.price.per_hour if state.price else None,
        "budget": budget,
        LAUNCHED: since(state),
    }


def since(state: State) -> str | None:
    """When the machine began to run, as `job.json` has it."""
    return state.launched.isoformat() if state.launched else None
