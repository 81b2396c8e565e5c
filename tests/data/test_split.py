"""The laws of dividing: nothing lost, nothing twice, the same again, every class by its own share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data.split import LESSON, Amount, Shares, divided, sampled, sealed
from orchestrator.errors import GpuError

NAMES = st.sets(st.text(min_size=1, max_size=8), min_size=3, max_size=60)
AMOUNTS = st.one_of(
    st.builds(Amount, count=st.integers(1, 70)),
    st.builds(Amount, share=st.floats(0.001, 0.999), most=st.none() | st.integers(1, 50)),
)


@given(NAMES, AMOUNTS, st.integers())
def test_a_division_adds_up_and_repeats(names: set[str], amount: Amount, seed: int) -> None:
    shares = Shares(valid=amount)
    if amount.count is not None and amount.count >= len(names):
        with pytest.raises(GpuError, match="'cat'"):
            divided(names, shares, seed, "cat")
        return
    train, valid = divided(names, shares, seed, "cat")
    assert train and valid and set(train) | set(valid) == names and len(train) + len(valid) == len(names)
    assert (train, valid) == divided(sorted(names, reverse=True), shares, seed, "cat")
    if amount.count is not None:
        assert len(valid) == amount.count
    else:
        assert amount.share is not None
        assert len(valid) <= max(1, min(amount.share * len(names) + 1e-9, amount.most or len(names)))


@given(NAMES, AMOUNTS, st.integers())
def test_what_is_sealed_leaves_two(names: set[str], amount: Amount, seed: int) -> None:
    if amount.count is not None and amount.count > len(names) - 2:
        with pytest.raises(GpuError):
            sealed(names, amount, seed, "cat")
        return
    taken = sealed(names, amount, seed, "cat")
    assert taken and set(taken) <= names and len(set(taken)) == len(taken) <= len(names) - 2


@pytest.mark.parametrize(("size", "held"), [(2, 1), (4, 1), (5, 1), (10, 2), (400, 80), (12500, 1000)])
def test_the_lesson_takes_a_fifth_and_a_thousand_at_most(size: int, held: int) -> None:
    assert LESSON.of("cat", size, leaving=1) == held


@pytest.mark.parametrize(("size", "copied"), [(3, 3), (8, 8), (30, 8), (60, 15), (99, 24), (100, 100), (5000, 100)])
def test_a_sample_has_a_hundred_or_a_quarter_and_eight_at_the_least(size: int, copied: int) -> None:
    names = [str(n) for n in range(size)]
    assert len(sampled(names, 100, 0)) == copied and set(sampled(names, 100, 0)) <= set(names)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1000", Amount(count=1000)), (" 7 ", Amount(count=7)), ("20%", Amount(share=0.2)), ("0.25", Amount(share=0.25))],
)
def test_amounts_are_read(text: str, amount: Amount) -> None:
    assert Amount.parse(text) == amount


@pytest.mark.parametrize("text", ["", "0", "-5", "0%", "100%", "150%", "1.5", "many", "20 percent", "1e3", "٣", "nan%"])
def test_no_amounts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a count nor a share"):
        Amount.parse(text)
