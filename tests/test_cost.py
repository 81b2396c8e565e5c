"""The bill: what was seen to run and to exist, in dollars; and what no order, loss or damage of notes may do to it."""

from __future__ import annotations

import fcntl
import itertools
import json
import multiprocessing
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import bill
from orchestrator.errors import GpuError
from orchestrator.providers.base import Price, State
from orchestrator.reporter import Silent
from orchestrator.sessions import Session, Sessions, spans
from orchestrator.settings import Home, Profile
from orchestrator.verbs import cost
from orchestrator.verbs.desk import Desk

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
PRICE = Price(0.90, 13.89, "a table")
KEPT_HOUR = 13.89 / 730


def at(hours: float) -> datetime:
    return NOON + hours * HOUR


def desk_in(folder: Path, *, budget: float | None = None, provider: str = "nobody") -> Desk:
    """The provider is none: whatever asks EC2 is told so, as where there is no network."""
    home = Home(folder, folder / "state", folder / "cache")
    return Desk(home, Profile("p", provider=provider, budget=budget), "p2", Silent(), folder)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


def running(since: float, *, machine: str = "i-1", kind: str = "p2", price: Price | None = PRICE) -> State:
    return State(
        kind, "running", machine, "127.0.0.2", "p2.xlarge", launched=at(since), price=price, disk_gb=128
    )  # fmt: skip


def stopped(since: float, told: float | None, *, machine: str = "i-1", kind: str = "p2") -> State:
    when = None if told is None else at(told)
    return replace(running(since, machine=machine, kind=kind), phase="stopped", stopped=when)


def absent(*, ip: str | None = None) -> State:
    return State("p2", "absent", ip=ip)


def lines(desk: Desk, hours: float) -> list[tuple[float, float | None, bool]]:
    """Each session as hours after noon: began, ended, whether that is at most."""
    found = cost.report(desk, now=at(hours)).sessions
    return [
        ((c.began - NOON) / HOUR, None if c.ended is None else (c.ended - NOON) / HOUR, c.at_most) for c in found
    ]  # fmt: skip


def test_a_session_runs_from_its_launch_to_its_stop(desk: Desk) -> None:
    cost.note(desk, running(0), now=at(0.1))
    assert cost.report(desk, now=at(2)).sessions[0].usd == pytest.approx(1.80)
    cost.note(desk, stopped(0, 3), now=at(5))
    report = cost.report(desk, now=at(10))
    assert report.sessions[0].usd == pytest.approx(2.70)
    assert report.total == pytest.approx(2.70 + 10 * KEPT_HOUR)
    assert (report.per_hour, report.per_month_stopped) == (pytest.approx(KEPT_HOUR), pytest.approx(13.89))
    assert report.per_month_left_on == pytest.approx(0.90 * 730 + 13.89)
    assert lines(desk, 10) == [(0, 3, False)]


def test_a_machine_that_stopped_itself_is_closed_when_it_did(desk: Desk) -> None:
    cost.note(desk, running(0), now=at(1))
    cost.note(desk, stopped(0, 2), now=at(50))
    assert lines(desk, 100) == [(0, 2, False)]


def test_one_whose_stop_nobody_tells_was_stopped_by_then_at_most(desk: Desk) -> None:
    cost.note(desk, running(0), now=at(1))
    cost.note(desk, stopped(0, None), now=at(4))
    cost.note(desk, stopped(0, None), now=at(9))
    assert lines(desk, 100) == [(0, 4, True)]
    cost.note(desk, stopped(0, 2), now=at(10))
    assert lines(desk, 100) == [(0, 2, False)]


def test_another_launch_ends_the_session_before_it(desk: Desk) -> None:
    """EC2 restarts a spot machine by itself; a machine can be started in the console."""
    cost.note(desk, running(0), now=at(1))
    cost.note(desk, running(5), now=at(6))
    assert lines(desk, 7) == [(0, 5, True), (5, None, False)]


def test_a_session_that_was_never_seen_to_run_is_on_the_bill(desk: Desk) -> None:
    cost.note(desk, stopped(0, 2), now=at(9))
    assert lines(desk, 10) == [(0, 2, False)]


def test_the_stop_before_the_launch_says_nothing_of_it(desk: Desk) -> None:
    cost.note(desk, stopped(5, 4), now=at(6))
    assert lines(desk, 7) == [(5, 6, True)]


def test_a_terminated_machine_costs_nothing_more(desk: Desk) -> None:
    cost.note(desk, running(0), now=at(1))
    cost.note(desk, absent(), now=at(3))
    cost.note(desk, absent(), now=at(8))
    report = cost.report(desk, now=at(100))
    assert lines(desk, 100) == [(0, 3, True)]
    assert {charge.ended for charge in report.kept} == {at(3)}
    assert report.per_hour == 0


def test_an_address_that_was_left_goes_on_costing(desk: Desk) -> None:
    cost.note(desk, running(0), now=at(1))
    cost.note(desk, absent(ip="127.0.0.2"), now=at(3))
    assert {c.what: c.ended for c in cost.report(desk, now=at(9)).kept} == {"disk": at(3), "address": None}
    cost.note(desk, running(10, machine="i-2"), now=at(11))
    kept = cost.report(desk, now=at(20)).kept
    assert [c.ended for c in kept if c.what == "address"] == [at(10), None]
    cost.removed(desk, now=at(30))
    report = cost.report(desk, now=at(100))
    assert (report.per_hour, report.per_month_stopped) == (0, 0)
    assert sum(c.hours for c in report.kept if c.what == "address") == pytest.approx(30)


def test_an_absence_that_was_none_ends_nothing(desk: Desk) -> None:
    """EC2 may not have heard of a machine that is seconds old."""
    cost.note(desk, running(0), now=at(1))
    cost.note(desk, absent(), now=at(2))
    cost.note(desk, running(0), now=at(3))
    assert lines(desk, 10) == [(0, None, False)]
    assert {charge.ended for charge in cost.report(desk, now=at(10)).kept} == {None}


def test_an_absence_that_is_told_late_ends_nothing(desk: Desk) -> None:
    """Two commands at once: the one that looked first may write last."""
    cost.note(desk, running(0), now=at(1))
    cost.note(desk, running(0), now=at(3))
    cost.note(desk, absent(), now=at(2))
    assert lines(desk, 10) == [(0, None, False)]


def test_another_machine_of_the_kind_means_that_the_first_is_gone(desk: Desk) -> None:
    cost.note(desk, running(0), now=at(1))
    cost.note(desk, running(4, machine="i-2"), now=at(5))
    report = cost.report(desk, now=at(10))
    assert [(c.machine, c.ended) for c in report.sessions] == [("i-1", at(5)), ("i-2", None)]
    assert [c.ended for c in report.kept if c.what == "disk"] == [at(5), None]


def test_two_kinds_are_two_bills(desk: Desk) -> None:
    cost.note(desk, running(0), now=at(1))
    cost.note(desk, running(0, machine="i-2", kind="t2", price=Price(0.01, 13.89, "")), now=at(1))
    cost.note(desk, absent(), now=at(2))
    found = {charge.kind: charge.ended for charge in cost.report(desk, now=at(3)).sessions}
    assert found == {"p2": at(2), "t2": None}


def test_a_machine_that_was_resized_keeps_its_disk(desk: Desk) -> None:
    cost.note(desk, stopped(0, 1, kind="t2"), now=at(2))
    cost.note(desk, running(3), now=at(4))
    cost.note(desk, State("t2", "absent"), now=at(5))
    report = cost.report(desk, now=at(10))
    assert [(c.kind, c.ended) for c in report.sessions] == [("t2", at(1)), ("p2", None)]
    assert {(c.kind, c.began, c.ended) for c in report.kept} == {("p2", at(0), None)}


def test_what_has_no_price_is_said_not_guessed(desk: Desk) -> None:
    cost.note(desk, running(0, price=None), now=at(1))
    report = cost.report(desk, now=at(2))
    assert (report.sessions[0].usd, report.unpriced) == (None, 1)
    assert report.total == pytest.approx(2 * KEPT_HOUR)
    cost.note(desk, running(0), now=at(2))
    assert cost.report(desk, now=at(2)).unpriced == 0


def test_a_minute_is_the_least(desk: Desk) -> None:
    cost.note(desk, stopped(0, 1 / 3600), now=at(1))
    assert cost.report(desk, now=at(1)).sessions[0].seconds == 60


def test_a_month_ends_at_midnight_utc(desk: Desk) -> None:
    elsewhere = timezone(timedelta(hours=-8))
    state = replace(stopped(0, 24), launched=at(0).astimezone(elsewhere), stopped=at(24).astimezone(elsewhere))
    cost.note(desk, state, now=at(24))
    cost.removed(desk, now=at(24))
    months = cost.report(desk, now=at(48)).months
    assert list(months) == ["2026-01", "2026-02"]
    assert months["2026-01"] == pytest.approx(12 * (0.90 + KEPT_HOUR))


def test_where_ec2_cannot_be_asked_it_is_said(desk: Desk) -> None:
    assert "nobody" in cost.report(desk).unchecked


# --- damage


def entries(desk: Desk) -> list[Path]:
    return sorted((desk.home.state / "sessions" / "p").glob("*/*.json"))


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff\x00", b"[]", b'{"machine": 3}', b"null", b"[" * 100_000],
)
def test_damage_of_one_entry_loses_that_entry_and_is_said(desk: Desk, damage: bytes) -> None:
    for start in (0, 10, 20):
        cost.note(desk, stopped(start, start + 1), now=at(start + 2))
    victim = next(file for file in entries(desk) if file.name.startswith("20260131T220000"))
    victim.write_bytes(damage)
    report = cost.report(desk, now=at(30))
    assert [charge.began for charge in report.sessions] == [at(0), at(20)]
    assert report.damaged == (str(victim),)


@pytest.mark.parametrize("change", [{"began": "2026-01-31T12:00:00"}, {"per_hour": -1}, {"per_hour": 1e999}])
def test_figures_that_cannot_be_are_damage(desk: Desk, change: dict[str, object]) -> None:
    cost.note(desk, running(0), now=at(1))
    file = next(file for file in entries(desk) if file.parent.name == "ran")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert cost.report(desk, now=at(2)).damaged == (str(file),)


def test_what_ec2_still_tells_is_written_anew(desk: Desk) -> None:
    cost.note(desk, running(0), now=at(1))
    for file in entries(desk):
        file.write_text("{")
    cost.note(desk, running(0), now=at(2))
    report = cost.report(desk, now=at(3))
    assert (report.damaged, len(report.sessions), len(report.kept)) == ((), 1, 2)
    assert len(list((desk.home.state / "sessions" / "p").glob("*/*.broken"))) == 2


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def test_an_id_cannot_climb_out_of_the_folder(desk: Desk) -> None:
    told = Told()
    cost.note(replace(desk, reporter=told), running(0, machine="../../x"), now=at(1))
    assert "not the id of a machine" in told.lines[0]
    assert not list(desk.home.state.rglob("x*"))


def test_a_ledger_that_cannot_be_written_stops_nobody(desk: Desk) -> None:
    """A file where its folder should be: as a full disk, it must not keep a machine from being stopped."""
    folder = desk.home.state / "sessions"
    folder.parent.mkdir(parents=True)
    folder.touch()
    told = Told()
    cost.note(replace(desk, reporter=told), running(0), now=at(1))
    cost.removed(replace(desk, reporter=told), now=at(1))
    assert [line.partition(":")[0] for line in told.lines] == ["this is not in the ledger of costs"] * 2
    assert str(folder) in told.lines[0]
    assert cost.report(desk, now=at(2)).total == 0


def test_a_copied_entry_is_not_counted_twice(desk: Desk) -> None:
    cost.note(desk, stopped(0, 1), now=at(1))
    file = next(file for file in entries(desk) if file.parent.name == "ran")
    copy = file.with_name("20260131T120000Z-i-1 (copy).json")
    copy.write_bytes(file.read_bytes())
    report = cost.report(desk, now=at(2))
    assert (len(report.sessions), report.damaged) == (1, (str(copy),))


def test_one_writes_at_a_time(desk: Desk) -> None:
    """What one has read is still true when it writes."""
    cost.note(desk, running(0), now=at(1))
    folder = desk.home.state / "sessions" / "p"
    with (folder / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        other = threading.Thread(target=cost.note, args=(desk, stopped(0, 2)), kwargs={"now": at(3)})
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert lines(desk, 4) == [(0, None, False)]
    other.join(10)
    assert lines(desk, 4) == [(0, 2, False)]


def _note_many(folder: Path, start: int) -> None:
    desk = desk_in(folder)
    for number in range(20):
        cost.note(desk, running(start + number), now=at(start + number))


def test_commands_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_note_many, args=(tmp_path, start)) for start in (0, 10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [began for began, _, _ in lines(desk_in(tmp_path), 100)] == list(range(30))


# --- the laws

moments = st.integers(0, 2000).map(lambda minutes: at(minutes / 60))


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[datetime, datetime]]:
    """A machine's true sessions: launch and stop, one after the other, in minutes."""
    steps = draw(st.lists(st.integers(1, 300), min_size=2, max_size=12))
    times = [at(total / 60) for total in itertools.accumulate(steps)]
    return list(itertools.pairwise(times))[::2]


def seen_at(life: list[tuple[datetime, datetime]], moment: datetime, *, told: bool) -> State | None:
    """What EC2 says at `moment`; `told`: also when the machine stopped."""
    before = [one for one in life if one[0] <= moment]
    if not before:
        return None
    began, ended = before[-1]
    state = replace(running(0), launched=began)
    return state if moment < ended else replace(state, phase="stopped", stopped=ended if told else None)


def true_seconds(life: list[tuple[datetime, datetime]], now: datetime) -> float:
    return sum((min(end, now) - start).total_seconds() for start, end in life if start < now)


def billed(desk: Desk, now: datetime) -> float:
    return sum(charge.seconds for charge in cost.report(desk, now=now).sessions)


notes = st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=12)


@settings(max_examples=150, deadline=None)
@given(lives(), notes)
def test_sessions_never_overlap_and_the_total_is_the_sum(
    life: list[tuple[datetime, datetime]], looked: list[tuple[int, bool]]
) -> None:
    """Whatever was noted, in whatever order."""
    with TemporaryDirectory() as folder:
        desk = desk_in(Path(folder))
        for minutes, told in looked:
            if state := seen_at(life, at(minutes / 60), told=told):
                cost.note(desk, state, now=at(minutes / 60))
        report = cost.report(desk, now=at(100))
    for one, after in itertools.pairwise(report.sessions):
        assert one.ended is not None and one.ended <= after.began
    assert report.total == pytest.approx(sum(c.usd or 0 for c in (*report.sessions, *report.kept)))
    assert report.total == pytest.approx(sum(report.months.values()))
    assert [c.began for c in report.sessions if c.began not in [start for start, _ in life]] == []


@settings(max_examples=100, deadline=None)
@given(lives(), notes)
def test_a_session_that_was_noted_is_never_undercounted(
    life: list[tuple[datetime, datetime]], looked: list[tuple[int, bool]]
) -> None:
    """The law of lost notes: what may be missing from the bill are only sessions that nobody looked at between their
    launch and the next one (EC2 forgets them itself); each of the others is billed in full, and exactly so where EC2
    told its stop."""
    now = at(100)
    with TemporaryDirectory() as folder:
        desk = desk_in(Path(folder))
        for minutes, told in sorted(looked):
            if state := seen_at(life, at(minutes / 60), told=told):
                cost.note(desk, state, now=at(minutes / 60))
        found = {charge.began: charge for charge in cost.report(desk, now=now).sessions}
    launches = [start for start, _ in life] + [datetime.max.replace(tzinfo=timezone.utc)]
    for (start, end), following in zip(life, launches[1:], strict=True):
        looks = [told for minutes, told in looked if start <= at(minutes / 60) < following]
        assert (start in found) == bool(looks)
        if looks:
            assert found[start].seconds >= (min(end, now) - start).total_seconds()
        exact = [told for minutes, told in looked if told and end <= at(minutes / 60) < following]
        if exact:
            assert (found[start].ended, found[start].at_most) == (end, False)


@settings(max_examples=60, deadline=None)
@given(lives(), notes)
def test_noting_the_same_twice_changes_nothing(
    life: list[tuple[datetime, datetime]], looked: list[tuple[int, bool]]
) -> None:
    with TemporaryDirectory() as first, TemporaryDirectory() as second:
        once, twice = desk_in(Path(first)), desk_in(Path(second))
        for minutes, told in looked:
            if state := seen_at(life, at(minutes / 60), told=told):
                for desk in (once, twice, twice):
                    cost.note(desk, state, now=at(minutes / 60))
        assert cost.report(once, now=at(100)) == replace(cost.report(twice, now=at(100)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(moments, st.one_of(st.none(), moments), st.one_of(st.none(), moments)), max_size=8))
def test_no_two_spans_of_a_machine_overlap(found: list[tuple[datetime, datetime | None, datetime | None]]) -> None:
    """Even of notes that no EC2 would make: stops long after the next launch, and the like."""
    made = [
        Session("i-1", "p2", "p2.xlarge", False, began, 1.0, stopped=end, over=over)
        for began, end, over in found
        if (end is None or end >= began) and (over is None or over >= began)
    ]
    ordered = spans({one.began: one for one in made}.values())
    for one, after in itertools.pairwise(ordered):
        assert one.ended is not None and one.ended <= after.session.began


@settings(max_examples=200, deadline=None)
@given(moments, st.integers(0, 5_000_000))
def test_months_share_the_hours_and_lose_none(start: datetime, seconds: int) -> None:
    end = start + timedelta(seconds=seconds)
    parts = list(bill.split(start, end))
    assert sum(hours for _, hours in parts) == pytest.approx(seconds / 3600)
    assert [month for month, _ in parts] == sorted({month for month, _ in parts})


# --- the budget


def test_without_a_budget_nothing_is_refused(desk: Desk) -> None:
    cost.note(desk, running(0), now=at(1))
    cost.check_budget(desk, None, now=at(1000))
    assert cost.deadline(desk, PRICE, now=at(1)) is None
    assert not cost.enforce(desk, running(0), now=at(1000))


def test_a_spent_budget_refuses_and_says_where_to_raise_it(tmp_path: Path) -> None:
    desk = desk_in(tmp_path, budget=2.0)
    cost.note(desk, stopped(0, 2), now=at(2))
    cost.check_budget(desk, PRICE, now=at(2))
    with pytest.raises(GpuError, match=r"budget of the profile p is spent: \$2\.\d\d of \$2\.00.*Raise `budget:`") as e:
        cost.check_budget(desk, PRICE, now=at(40))
    assert str(desk.home.config_file) in str(e.value)


def test_a_budget_that_could_not_be_kept_refuses(tmp_path: Path) -> None:
    with pytest.raises(GpuError, match="price of this machine is not known"):
        cost.check_budget(desk_in(tmp_path, budget=2.0), None)


def test_a_budget_of_nothing_is_spent(tmp_path: Path) -> None:
    with pytest.raises(GpuError, match=r"\$0\.00 of \$0\.00"):
        cost.check_budget(desk_in(tmp_path, budget=0.0), PRICE)


def test_the_deadline_is_when_all_of_it_is_spent(tmp_path: Path) -> None:
    desk = desk_in(tmp_path, budget=10.0)
    cost.note(desk, stopped(0, 1), now=at(1))
    cost.note(desk, running(0, machine="i-2", kind="t2"), now=at(1))
    when = cost.deadline(desk, PRICE, now=at(1))
    assert when is not None
    cost.note(desk, running(1), now=at(1))
    assert cost.report(desk, now=when).total == pytest.approx(10.0, abs=0.01)
    assert cost.deadline(desk, PRICE, now=at(500)) == at(500)


def test_a_budget_beyond_ten_years_is_no_deadline(tmp_path: Path) -> None:
    assert cost.deadline(desk_in(tmp_path, budget=1e12), PRICE) is None
    assert cost.deadline(desk_in(tmp_path, budget=1.0), Price(0.0, 0.0, "free")) is None


def test_the_budget_stops_what_runs_beyond_it(tmp_path: Path) -> None:
    desk = desk_in(tmp_path, budget=2.0)
    assert not cost.enforce(desk, running(0), now=at(1))
    assert cost.enforce(desk, running(0), now=at(3))
    assert not cost.enforce(desk, stopped(0, 3), now=at(3))


def test_what_goes_on_costing_is_said(desk: Desk) -> None:
    text = cost.stop_sentence(desk, stopped(0, 1))
    assert text == "its disk of 128 GB and its address go on costing $13.89 a month until `gpu destroy`"


def test_an_empty_ledger_costs_nothing(desk: Desk) -> None:
    report = cost.report(desk)
    assert (report.total, report.sessions, report.kept, report.damaged, report.rest) == (0, (), (), (), None)
    assert Sessions(desk.home.state / "nowhere").sessions() == []
