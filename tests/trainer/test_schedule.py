from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.schedule import OneCycle


@given(st.integers(10, 3000))
def test_the_rate_goes_up_once_and_down_once_and_the_momentum_against_it(steps: int) -> None:
    cycle = OneCycle(steps)
    rates = [cycle.rate(step) for step in range(steps)]
    momenta = [cycle.momentum(step) for step in range(steps)]
    top = rates.index(max(rates))
    assert top / steps == pytest.approx(0.3, abs=1.5 / steps + 0.01)
    assert all((one < two) == (number < top) for number, (one, two) in enumerate(pairwise(rates)))
    assert all((one > two) == (number < top) for number, (one, two) in enumerate(pairwise(momenta)))
    assert rates[0] == pytest.approx(0.2) and rates[-1] == pytest.approx(1e-5)
    assert 0.99 < max(rates) <= 1 or steps < 30
    assert min(momenta) >= 0.85 and momenta[0] == momenta[-1] == pytest.approx(0.95)


def test_half_way_up_and_half_way_down() -> None:
    cycle = OneCycle(1001)
    assert cycle.rate(150) == pytest.approx((0.2 + 1) / 2)
    assert cycle.rate(300) == pytest.approx(1)
    assert cycle.rate(650) == pytest.approx((1 + 1e-5) / 2)


def test_a_single_step_is_a_cycle_too() -> None:
    assert OneCycle(1).rate(0) == pytest.approx(0.2)
