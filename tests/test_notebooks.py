"""What is known of notebooks on a machine, and two copies of one: neither is ever lost."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import redirect
from orchestrator.errors import GpuError
from orchestrator.notebooks import Home, Notebooks, Record
from orchestrator.reunion import Fate, HomeFolder, Outcome, decide

CONTENT = st.sampled_from([None, "a", "b", "c"])


def digest(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def reunite(folder: Path, theirs: str, last: str | None) -> Outcome:
    """`n.ipynb` with what the machine has."""
    arrived = folder.parent / "arrived"
    arrived.write_text(theirs)
    outcome = Outcome()
    HomeFolder(folder).receive("n.ipynb", arrived, digest(last), outcome)
    return outcome


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nbs").mkdir()
    return tmp_path / "nbs"


@given(theirs=st.sampled_from("abc"), ours=CONTENT, last=CONTENT)
def test_no_content_is_ever_lost(theirs: str, ours: str | None, last: str | None) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "nbs"
        folder.mkdir()
        if ours is not None:
            (folder / "n.ipynb").write_text(ours)
        fate = decide(str(digest(theirs)), digest(ours), digest(last))
        reunite(folder, theirs, last)
        left = {file.read_text() for file in folder.iterdir()}
        # Lost may be only what was the same at both ends when it last came home, and has been changed at one since.
        assert {theirs, *([ours] if ours else [])} - left <= {last}
        assert fate is Fate.SAME or (folder / "n.ipynb").exists()
        before = {file.name: file.read_text() for file in folder.iterdir()}
        again = reunite(folder, theirs, theirs if fate is not Fate.KEEP else last)
        assert {file.name: file.read_text() for file in folder.iterdir()} == before, "once more changes nothing"
        assert not again.taken


def test_what_was_changed_at_both_ends_is_kept_twice(folder: Path) -> None:
    (folder / "n.ipynb").write_text("mine")
    name = reunite(folder, "theirs", "before").beside["n.ipynb"]
    assert name == f"n.machine-{str(digest('theirs'))[:8]}.ipynb"
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"n.ipynb": "mine", name: "theirs"}


def test_a_link_at_home_is_not_written_through(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (folder / "n.ipynb").symlink_to(outside)
    assert reunite(folder, "theirs", "mine").beside
    assert outside.read_text() == "mine"
    (tmp_path / "elsewhere").mkdir()
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    arrived = tmp_path / "arrived"
    arrived.write_text("theirs")
    with pytest.raises(GpuError, match="is a link out of"):
        HomeFolder(folder).receive("sub/n.ipynb", arrived, None, Outcome())
    assert list((tmp_path / "elsewhere").iterdir()) == []


RECORD = Record("p2", "/home/me/nbs", "disk", used=False, port=4711, files={"a.ipynb": Home(3, 5, "ab")})


@pytest.fixture
def known(tmp_path: Path) -> Iterator[Notebooks]:
    return_ = Notebooks(tmp_path / "notebooks")
    return_.keep(RECORD)
    yield return_


def test_a_record_comes_back_and_goes_with_its_machine(known: Notebooks) -> None:
    assert known.find("p2") == RECORD
    assert known.find("t2") is None
    known.move("p2", "t2")
    assert (known.find("p2"), known.find("t2")) == (None, replace(RECORD, kind="t2"))
    known.forget()
    assert known.all() == []


def test_a_damaged_record_counts_as_not_home(known: Notebooks, tmp_path: Path) -> None:
    (tmp_path / "notebooks/p2.json").write_bytes(b"\xff{")
    found = known.find("p2")
    assert found is not None
    assert (found.used, found.files) == (True, {})


def test_newer_is_what_has_another_size_or_time_or_another_disk() -> None:
    seen = {"a.ipynb": (3, 5), "b.ipynb": (1, 1)}
    assert RECORD.newer(seen, "disk") == ["b.ipynb"]
    assert RECORD.newer({"a.ipynb": (3, 6)}, "disk") == ["a.ipynb"]
    assert RECORD.newer(seen, "another") == ["a.ipynb", "b.ipynb"]


def test_the_page_with_the_token_is_nobody_elses_and_goes_away() -> None:
    with redirect.page("http://127.0.0.1:1/tree?token=ab&c") as file:
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        assert 'content="0; url=http://127.0.0.1:1/tree?token=ab&amp;c"' in file.read_text()
    assert not file.parent.exists()


@pytest.mark.parametrize(("environ", "there"), [({}, False), ({"DISPLAY": ":0"}, True), ({"BROWSER": "firefox"}, True)])
def test_without_a_screen_there_is_no_browser(
    environ: dict[str, str], there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert redirect.has_browser(environ) is there
