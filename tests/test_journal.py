"""The journal over folders as runs leave them, and as damage leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import journal as shown
from orchestrator.errors import UsageError
from orchestrator.ledger import Ledger
from orchestrator.settings import Home
from orchestrator.verbs import journal

FIRST, SECOND, THIRD = (f"20260101-00000{n}-pets-000{n}" for n in (1, 2, 3))
COMMAND = ["~/gpu/env/bin/python", "-m", "trainer", "--data", "~/d", "--out", "~/o", "--cache", "~/c", "--model", "m"]


def run(folder: Path, name: str, *, code: int | None = 0, home: bool = True, job: Any = None, **result: Any) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    wish = {"data": "pets", "model": "m", "note": "", "command": COMMAND, "price_per_hour": 0.9}
    (place / "job.json").write_text(json.dumps({**wish, **(job or {})}))
    (place / "result.json").write_text(json.dumps({"accuracy": 0.9, "log_loss": 0.2, "seconds": 1200, **result}))
    if code is not None:
        (place / "exit_code").write_text(f"{code}\n")
    if home:
        (place / "verified.json").write_text("{}")
    return place


def test_what_was_asked_what_came_of_it_and_what_it_cost(tmp_path: Path) -> None:
    run(tmp_path, FIRST, job={"note": "first try", "command": [*COMMAND, "--epochs", "3", "--resume"]})
    [entry] = journal.entries(tmp_path)
    assert (entry.state, entry.data, entry.options, entry.note) == ("finished", "pets", "--epochs 3", "first try")
    assert (entry.accuracy, entry.log_loss, entry.minutes, entry.dollars) == (0.9, 0.2, 20.0, 0.3)


def test_states_follow_from_the_files(tmp_path: Path) -> None:
    run(tmp_path, FIRST, code=1)
    (run(tmp_path, SECOND, code=143) / "interrupted.json").write_text("{}")
    run(tmp_path, THIRD, home=False)
    for number, code in (("4", 143), ("5", None)):
        run(tmp_path, THIRD.replace("3", number), code=code)
    run(tmp_path, THIRD.replace("3", "6"), home=False)
    (tmp_path / THIRD.replace("3", "7")).mkdir()
    found = [entry.state for entry in journal.entries(tmp_path, expected={FIRST, THIRD})]
    assert found == ["failed", "interrupted", "not home", "cancelled", "lost", "gone", "not home"]
    assert {entry.accuracy for entry in journal.entries(tmp_path)} == {None}, (
        "no result is shown that has not been verified"
    )


def test_sorted_filtered_and_compared(tmp_path: Path) -> None:
    run(tmp_path, FIRST, accuracy=0.91)
    run(tmp_path, SECOND, accuracy=0.97, job={"note": "more passes", "price_per_hour": None})
    run(tmp_path, THIRD, code=1)
    assert [entry.run for entry in journal.entries(tmp_path, sort="-accuracy")] == [SECOND, FIRST, THIRD]
    assert [entry.run for entry in journal.entries(tmp_path, sort="accuracy")] == [FIRST, SECOND, THIRD]
    assert [entry.run for entry in journal.entries(tmp_path, contains="PASSES")] == [SECOND]
    assert journal.compare(tmp_path, [FIRST, SECOND]) == {
        "run": [FIRST, SECOND],
        "note": ["", "more passes"],
        "accuracy": [0.91, 0.97],
        "dollars": [0.3, None],
    }
    with pytest.raises(UsageError, match="accuracy"):
        journal.entries(tmp_path, sort="acuracy")
    with pytest.raises(UsageError, match=FIRST):
        journal.compare(tmp_path, [FIRST[:-1], SECOND])


@pytest.mark.parametrize("garbage", [b"", b"[1]", b"\xff\x00", b"[" * 100_000, b'{"accuracy": "x", "seconds": NaN}'])
def test_garbage_is_an_empty_page(tmp_path: Path, garbage: bytes) -> None:
    place = run(tmp_path, FIRST)
    for name in ("job.json", "result.json"):
        (place / name).write_bytes(garbage)
    (tmp_path / "notes").mkdir()
    [entry] = journal.entries(tmp_path)
    assert (entry.run, entry.accuracy, entry.dollars) == (FIRST, None, None)


def test_no_folder_is_no_run(tmp_path: Path) -> None:
    assert journal.entries(tmp_path / "runs") == []


def test_the_table_has_columns() -> None:
    assert shown.table([["run", "x"], ["longer", "1"]]) == "run     x\nlonger  1"
    assert [shown.shown(*pair) for pair in (("accuracy", 0.975), ("dollars", 0.3), ("note", None))] == [
        "97.50%",
        "$0.30",
        "-",
    ]


def test_what_any_profile_waits_for_is_not_gone(tmp_path: Path) -> None:
    home = Home.from_environment({"GPU_HOME": str(tmp_path)})
    assert journal.awaited(home) == set()
    for profile, name in (("aws", FIRST), ("box", SECOND)):
        Ledger(home.state / "unfetched" / profile).add(name, kind="p2", runs=tmp_path)
    assert journal.awaited(home) == {FIRST, SECOND}
