from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer import predict
from trainer.errors import TrainerError

from .conftest import COLOURS, paint
from .hardware import DEVICE

Train = Callable[..., tuple[Path, list[str]]]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainer.predict", *map(str, words)], capture_output=True, text=True, check=False
    )


def submitted(out: Path) -> dict[str, float]:
    with (out / "submission.csv").open() as file:
        return {row["id"]: float(row["label"]) for row in csv.DictReader(file)}


@pytest.fixture
def trained(painted: Path, train: Train) -> Path:
    """A run on a test set whose files were made in another order than they sort in, 3 and 8 of them broken."""
    numbers = list(range(1, 12))
    random.Random(3).shuffle(numbers)
    shutil.rmtree(painted / "test")
    for number in numbers:
        paint(painted / "test" / f"{number}.jpg", COLOURS["dog" if number % 3 == 0 else "cat"], 100 + number)
    for number in (3, 8):
        file = painted / "test" / f"{number}.jpg"
        file.write_bytes(file.read_bytes()[:200])
    (painted / "train" / "cat" / "cat.0.jpg").unlink()
    out, said = train(painted)
    assert sum(line.startswith("warning: test/") for line in said) == 2
    return out


def test_each_file_has_its_own_answer_in_training_and_after(trained: Path, painted: Path) -> None:
    labels = submitted(trained)
    prior = 8 / 15
    for number in range(1, 12):
        if number in (3, 8):
            assert labels[str(number)] == pytest.approx(prior, abs=1e-5)
        else:
            assert (labels[str(number)] > 0.5) == (number % 3 == 0)
    done = run(trained, painted / "test" / "11.jpg", painted / "test", "--format", "json", "--device", DEVICE)
    assert done.returncode == 1
    assert all(f"{name}.jpg cannot be used" in done.stderr for name in (3, 8))
    assert "Traceback" not in done.stderr
    answers = json.loads(done.stdout)
    assert [Path(answer["file"]).stem for answer in answers] == ["11", *map(str, range(1, 12))]
    assert [Path(answer["file"]).stem for answer in answers if "error" in answer] == ["3", "8"]
    for answer in answers:
        if "error" not in answer:
            dog = answer["probability"] if answer["class"] == "dog" else 1 - answer["probability"]
            assert dog == pytest.approx(labels[Path(answer["file"]).stem], abs=5e-4)
    _the_class_order_is_the_stored_one(trained, painted)


def _the_class_order_is_the_stored_one(trained: Path, painted: Path) -> None:
    document = json.loads((trained / "model.json").read_text())
    assert document["classes"] == ["cat", "dog"]
    (trained / "model.json").write_text(json.dumps({**document, "classes": ["zebra", "ant"]}))
    (answer,) = predict.load(trained).answers([painted / "test" / "9.jpg"])
    assert predict.Sheet(("zebra", "ant"), 1).best(answer)[0][0] == "ant"
    (trained / "model.json").write_text(json.dumps({**document, "classes": ["one"]}))
    with pytest.raises(TrainerError, match="damaged"):
        predict.load(trained)


ANSWERS = [
    predict.Answer(Path("a\x1b[31m,b.jpg"), (0.1, 0.7, 0.2)),
    predict.Answer(Path("broken.jpg"), fault="cut short"),
    predict.Answer(Path("c.jpg"), (0.5, 0.25, 0.25)),
]


def test_tables_are_for_people_and_csv_for_programs() -> None:
    sheet = predict.Sheet(("ant", "bee", "cat"), 2)
    rows = list(csv.reader(io.StringIO(sheet.text(ANSWERS, "csv"))))
    assert rows == [
        ["file", "class", "probability", "class_2", "probability_2"],
        ["a\x1b[31m,b.jpg", "bee", "0.700000", "cat", "0.200000"],
        ["c.jpg", "ant", "0.500000", "bee", "0.250000"],
    ]
    shown = sheet.text(ANSWERS, "table").splitlines()
    assert shown[1].startswith("a\\x1b[31m,b.jpg  bee    0.700000")
    assert [entry.get("error") for entry in json.loads(sheet.text(ANSWERS, "json"))] == [None, "cut short", None]
    assert predict.Sheet(("ant", "bee", "cat"), 9).text(ANSWERS, "csv").splitlines()[0].count(",") == 6


def test_folders_are_walked_in_natural_order_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("10.jpg", "9.PNG", "deep/1.jpg", ".hidden/2.jpg", ".3.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = predict.photographs([tmp_path, tmp_path / "notes.txt"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["9.PNG", "10.jpg", "deep/1.jpg", "notes.txt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainerError, match="no photograph in"):
        predict.photographs([tmp_path / "empty"])
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(TrainerError, match="is no file"):
        predict.photographs([tmp_path / "pipe.jpg"])


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"classes": 3}'])
def test_what_is_no_finished_run_is_said(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(TrainerError, match="damaged" if content else "has no model"):
        predict.load(tmp_path)


def test_a_folder_that_is_no_run_is_said_before_torch_is_loaded(tmp_path: Path) -> None:
    script = (
        "import sys; from trainer.predict import main; code = main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    words = [sys.executable, "-c", script, str(tmp_path), str(tmp_path / "x.jpg")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Only a finished run has one" in done.stderr and "Traceback" not in done.stderr
