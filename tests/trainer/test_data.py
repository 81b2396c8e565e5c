from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import data
from trainer.errors import TrainerError


def test_the_classes_are_sorted_and_hidden_folders_are_none(painted: Path) -> None:
    (painted / "train" / ".quarantine").mkdir()
    (painted / "test" / "._1.jpg").write_bytes(b"of another system")
    found = data.walk(painted)
    assert found.classes == ("cat", "dog")
    assert [len(part) for part in (found.train, found.valid, found.test)] == [16, 8, 11]
    assert [question.id for question in found.test] == [str(number) for number in range(1, 12)]


def test_a_test_folder_may_have_one_more_level(painted: Path) -> None:
    shutil.move(painted / "test", painted / "unknown")
    (painted / "test").mkdir()
    shutil.move(painted / "unknown", painted / "test" / "unknown")
    assert len(data.walk(painted).test) == 11


@pytest.mark.parametrize(
    ("gone", "words"),
    [("train", "no train/"), ("valid", "no valid/"), ("train/dog", "only the class cat"), ("sample", "no sample/")],
)
def test_what_is_missing_is_named(painted: Path, gone: str, words: str) -> None:
    shutil.rmtree(painted / gone)
    with pytest.raises(TrainerError, match=words):
        data.walk(painted, sample=gone == "sample")


def test_an_empty_class_folder_is_named(painted: Path) -> None:
    for path in (painted / "valid" / "dog").iterdir():
        path.unlink()
    with pytest.raises(TrainerError, match="valid/dog has no photographs"):
        data.walk(painted)


def test_two_files_of_one_id_are_refused(painted: Path) -> None:
    shutil.copy(painted / "test" / "1.jpg", painted / "test" / "1.png")
    with pytest.raises(TrainerError, match="would both be 1"):
        data.walk(painted)


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_numbers_sort_as_numbers(numbers: list[int]) -> None:
    assert sorted(map(str, numbers), key=data.natural) == [str(number) for number in sorted(numbers)]


@given(st.text(), st.text())
def test_different_names_never_sort_as_equal(one: str, other: str) -> None:
    assert (data.natural(one) == data.natural(other)) == (one == other)
