"""What is not home yet is remembered, whatever happens to one entry."""

from __future__ import annotations

from pathlib import Path

from orchestrator.ledger import Ledger
from trainer.run_folder import new_run_id


def test_added_runs_wait_until_they_are_removed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "unfetched")
    first, second = new_run_id("a"), new_run_id("b")
    ledger.add(first, kind="p2", runs=tmp_path)
    ledger.add(second, kind="t2", runs=tmp_path)
    assert {entry.run_id for entry in ledger.unfetched()} == {first, second}
    assert [entry.run_id for entry in ledger.unfetched("t2")] == [second]
    ledger.remove(first)
    ledger.remove(first)
    assert not ledger.came_home(first)
    assert [entry.run_id for entry in ledger.unfetched()] == [second]


def test_a_run_that_goes_on_is_not_home_any_more(tmp_path: Path) -> None:
    ledger, run_id = Ledger(tmp_path), new_run_id("a")
    ledger.note_home(run_id)
    assert ledger.came_home(run_id) and ledger.unfetched() == []
    ledger.add(run_id, kind="p2", runs=tmp_path)
    assert not ledger.came_home(run_id)


def test_a_damaged_entry_still_counts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    run_id = new_run_id("a")
    ledger.add(run_id, kind="p2", runs=tmp_path)
    next(tmp_path.glob("*.json")).write_bytes(b"\xff\x00{")
    assert [entry.run_id for entry in ledger.unfetched()] == [run_id]
    assert [entry.run_id for entry in ledger.unfetched("t2")] == [run_id]


def test_what_is_no_entry_is_left_alone(tmp_path: Path) -> None:
    ledger, stray = Ledger(tmp_path), tmp_path / "foo bar.json"
    stray.write_text("{}")
    ledger.add(new_run_id("a"), kind="p2", runs=tmp_path)
    assert len(ledger.unfetched()) == 1
    ledger.forget([entry.run_id for entry in ledger.unfetched()])
    assert ledger.unfetched() == []
    assert stray.exists()


def test_an_empty_ledger_is_no_error(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "nowhere").unfetched() == []
