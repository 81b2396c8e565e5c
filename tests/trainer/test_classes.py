"""Three classes all the way through: nothing assumes that there are two."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from trainer import predict

from .conftest import paint
from .test_predict import run as predicted

COLOURS = {"bird": (60, 180, 60), "cat": (200, 60, 40), "dog": (40, 60, 200)}
NAMES = list(COLOURS)
COUNTS = {"bird": 9, "cat": 7, "dog": 5}
Train = Callable[..., tuple[Path, list[str]]]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Unequal classes, and nine questions: 1, 4, 7 are birds, 2, 5, 8 cats, 3, 6, 9 dogs; 5 cannot be read."""
    root = tmp_path / "three"
    for label, (name, colour) in enumerate(COLOURS.items()):
        for part, count in (("train", COUNTS[name]), ("valid", 3)):
            for number in range(count):
                paint(root / part / name / f"{name}.{number}.jpg", colour, 100 * label + 10 * len(part) + number)
    for number in range(1, 10):
        paint(root / "test" / f"{number}.jpg", COLOURS[NAMES[(number - 1) % 3]], 500 + number)
    (root / "test" / "5.jpg").write_bytes(b"no photograph")
    return root


def rows(out: Path) -> Iterator[dict[str, str]]:
    with (out / "submission.csv").open() as file:
        yield from csv.DictReader(file)


def test_the_whole_run(three: Path, train: Train) -> None:
    out, _ = train(three)
    result = json.loads((out / "result.json").read_text())
    assert result["accuracy"] == 1.0 and result["log_loss"] < 0.5
    assert (out / "submission.csv").read_text().startswith("id,bird,cat,dog\n")
    shares = {name: count / sum(COUNTS.values()) for name, count in COUNTS.items()}
    for number, row in enumerate(rows(out), 1):
        found = {name: float(row[name]) for name in NAMES}
        assert int(row["id"]) == number and sum(found.values()) == pytest.approx(1, abs=1e-5)
        if number == 5:
            assert found == pytest.approx(shares, abs=1e-5)
        else:
            assert max(found, key=found.__getitem__) == NAMES[(number - 1) % 3]
    assert json.loads((out / "model.json").read_text())["classes"] == NAMES
    page = (out / "report.html").read_text()
    assert all(name in page for name in NAMES) and "Most uncertain" in page
    with Image.open(out / "confusion.png") as picture:
        assert picture.width > 100
    _the_artefacts_predict(out, three)


def _the_artefacts_predict(out: Path, three: Path) -> None:
    done = predicted(out, three / "test" / "3.jpg", three / "test" / "1.jpg", "--top", "3", "--format", "json")
    first, second = json.loads(done.stdout)
    assert (first["class"], second["class"]) == ("dog", "bird")
    assert {entry["class"] for entry in first["top"]} == set(NAMES)
    table = predict.load(out).probabilities([three / "valid" / name / f"{name}.0.jpg" for name in NAMES])
    assert table.shape == (3, 3) and table.argmax(axis=1).tolist() == [0, 1, 2]


def test_by_accuracy_in_passes_with_equal_weights(three: Path, train: Train) -> None:
    out, said = train(three, epochs=4, metric="accuracy", balanced=True)
    assert sum(line.startswith("Epoch ") for line in said) == 4
    labels = [row["label"] for row in rows(out)]
    assert labels[:4] + labels[5:] == [NAMES[number % 3] for number in (0, 1, 2, 0, 2, 0, 1, 2)]
    # What is likeliest of a photograph that nobody has seen.
    assert labels[4] == "bird"
