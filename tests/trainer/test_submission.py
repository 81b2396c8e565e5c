from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import submission
from trainer.errors import TrainerError, UsageError
from trainer.submission import ACCURACY, Form

THREE = ("bird", "cat", "dog")
ROWS = [[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]]


def sample(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "sample_submission.csv"
    file.write_bytes(text.encode())
    return file


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1, max_size=30))
def test_every_id_is_submitted_once_in_numeric_order(numbers: list[int]) -> None:
    rows = [[0.25, 0.75] for _ in numbers]
    text = Form.of(("cat", "dog"), [str(n) for n in numbers]).table(rows).decode()
    assert list(csv.reader(io.StringIO(text))) == [["id", "label"], *([str(n), "0.750000"] for n in sorted(numbers))]


@given(st.lists(st.text(), unique=True, min_size=1, max_size=5), st.floats(1e-12, 0.5))
def test_any_id_and_any_probability_arrive(ids: list[str], least: float) -> None:
    content = Form.of(("cat", "dog"), ids).table([[1 - least, least] for _ in ids])
    header, *lines = csv.reader(io.StringIO(content.decode("utf-8", "surrogatepass"), newline=""))
    assert header == ["id", "label"] and sorted(line[0] for line in lines) == sorted(ids)
    assert all(float(line[1]) == pytest.approx(least, rel=0.02, abs=5e-7 if least > 1e-4 else 0) for line in lines)


def test_more_classes_have_a_column_each() -> None:
    text = submission.table(("a", "b, c", "d"), ["x"], [[0.2, 0.3, 0.5]]).decode()
    assert text == 'id,a,"b, c",d\nx,0.200000,0.300000,0.500000\n'


def test_for_accuracy_the_class_itself_is_written() -> None:
    two = Form.of(("cat", "dog"), ["2", "1"], metric=ACCURACY).table([[0.4, 0.6], [0.9, 0.1]])
    assert two == b"id,label\n1,0\n2,1\n"
    assert Form.of(THREE, ["2", "1"], metric=ACCURACY).table(ROWS) == b"id,label\n1,bird\n2,dog\n"
    with pytest.raises(UsageError, match="no metric f1"):
        Form.of(THREE, [], metric="f1")


def test_the_samples_header_and_ids_are_followed(tmp_path: Path) -> None:
    file = sample(tmp_path, "\ufeffimg,dog,bird,cat\r\n10.jpg,0,0,0\r\n9.jpg,0,0,0\r\n")
    assert submission.find_sample(tmp_path) == file
    content = Form.of(THREE, ["10", "9"], sample=file).table(ROWS)
    assert content.decode().splitlines() == [
        "img,dog,bird,cat", "9.jpg,0.100000,0.700000,0.200000", "10.jpg,0.500000,0.200000,0.300000",
    ]  # fmt: skip
    made = tmp_path / "submission.csv"
    made.write_bytes(content)
    submission.check(made, file)


@pytest.mark.parametrize(
    ("text", "metric", "first"),
    [
        ("image,target\nx,0.5\n", "log_loss", "x,0.900000"),
        ("id,cat,dog\nx,0.5,0.5\n", "log_loss", "x,0.100000,0.900000"),
        ("id,cat\nx,0.5\n", "log_loss", "x,0.100000"),
        ("id,dog\nx,0.5\n", "log_loss", "x,0.900000"),
        ("id,label\nx,0\n", "accuracy", "x,1"),
        ("id,label\nx,cat\n", "accuracy", "x,dog"),
    ],
)
def test_two_classes_are_written_as_the_sample_has_them(tmp_path: Path, text: str, metric: str, first: str) -> None:
    form = Form.of(("cat", "dog"), ["x"], metric=metric, sample=sample(tmp_path, text))
    assert form.table([[0.1, 0.9]]).decode().splitlines() == [text.splitlines()[0], first]


def test_all_that_differs_is_said_in_one_error(tmp_path: Path) -> None:
    file = sample(tmp_path, "id,cat,dog,fish\n" + "".join(f"{n},0,0,0\n" for n in range(1, 10)))
    with pytest.raises(TrainerError) as met:
        Form.of(THREE, ["1", "2", "eleven"], sample=file)
    for words in ("fish", "no column for bird", "3, 4, 5, 6, 7 and 2 more", "eleven", str(file)):
        assert words in str(met.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,label\n1,0.5\n1,0.5\n", "twice"),
        ("id,label\n1\n", "row 2"),
        ("", "header"),
        ('id,label\n"1,0.5\n', "no CSV"),
        ("id,label,more\n1,0.5,0\n", "do not fit"),
    ],
)
def test_a_damaged_sample_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TrainerError, match=words):
        Form.of(("cat", "dog"), ["1"], metric=ACCURACY, sample=sample(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,label\n1,0.5\n3,0.5\n", ["2", "3"]),
        ("id,dog\n1,0.5\n2,0.5\n", ["id,dog", "id,label"]),
        ("id,label\n1,\n2,0.5\n", ["nothing stands beside 1"]),
    ],
)
def test_a_submission_of_something_else_is_refused(tmp_path: Path, text: str, words: list[str]) -> None:
    made = tmp_path / "submission.csv"
    made.write_text(text)
    with pytest.raises(TrainerError) as met:
        submission.check(made, sample(tmp_path, "id,label\n1,0.5\n2,0.5\n"))
    assert all(word in str(met.value) for word in words)


def test_it_can_be_checked_where_nothing_is_installed() -> None:
    script = "import sys, trainer.submission; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
