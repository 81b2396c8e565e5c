from __future__ import annotations

import csv
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from trainer import predict, weights
from trainer.errors import TrainerError
from trainer.plan import Plan

from .conftest import paint

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "dogscats-kaggle" / "train.zip"
Train = Callable[..., tuple[Path, list[str]]]


def answers(out: Path) -> dict[str, float]:
    with (out / "submission.csv").open() as file:
        return {row["id"]: float(row["label"]) for row in csv.DictReader(file)}


def test_a_run_leaves_whole_files_that_predict_alone(painted: Path, train: Train) -> None:
    out, _ = train(painted)
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    listed = {line.split("  ")[1] for line in (out / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in out.iterdir()} - {"SHA256SUMS"}
    assert all((label > 0.5) == bool(int(name) % 2) for name, label in answers(out).items())
    predictor = predict.load(out)
    rows = predictor.probabilities([painted / "test" / f"{name}.jpg" for name in answers(out)])
    assert numpy.allclose(rows[:, 1], list(answers(out).values()), atol=2e-3)


def test_a_second_run_takes_its_features_from_the_cache(painted: Path, train: Train, tmp_path: Path) -> None:
    first, _ = train(painted)
    (shard,) = (tmp_path / "cache").rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    second, said = train(painted, out="second", epochs=2)
    assert sum(line.startswith("Epoch ") for line in said) == 2
    content[-1] ^= 1
    shard.write_bytes(content)
    third, said = train(painted, out="third")
    assert any("damaged" in line for line in said)
    assert (third / "submission.csv").read_bytes() == (first / "submission.csv").read_bytes()
    assert json.loads((second / "result.json").read_text())["epochs"] == 2


def test_damaged_photographs_are_named_and_answered_by_the_prior(painted: Path, train: Train) -> None:
    (painted / "train" / "cat" / "cat.0.jpg").write_bytes(b"")
    whole = (painted / "test" / "5.jpg").read_bytes()
    (painted / "test" / "5.jpg").write_bytes(whole[: len(whole) // 2])
    out, said = train(painted)
    result = json.loads((out / "result.json").read_text())
    assert [item["file"] for item in result["quarantined"]] == ["train/cat/cat.0.jpg", "test/5.jpg"]
    assert result["train"] == 15
    assert len(answers(out)) == 11
    assert answers(out)["5"] == pytest.approx(8 / 15, abs=1e-5)
    assert sum(line.startswith("warning") for line in said) == 2


def test_a_class_that_cannot_be_read_is_an_error(painted: Path, train: Train) -> None:
    for path in (painted / "valid" / "dog").iterdir():
        path.write_bytes(b"no photograph")
    with pytest.raises(TrainerError, match=r"none of the photographs in .*dog can be read"):
        train(painted)


def test_without_a_test_folder_it_says_so(painted: Path, train: Train) -> None:
    (painted / "test").rename(painted / "elsewhere")
    out, said = train(painted)
    assert not (out / "submission.csv").exists()
    assert any("no submission" in line for line in said)
    (painted / "elsewhere").rename(painted / "test.zip")
    (painted / "test").mkdir()
    (painted / "test.zip").rename(painted / "test" / "inner")
    _, said = train(painted)
    assert any("there are some in test/inner/" in line for line in said)


def test_a_sample_marks_its_submission(painted: Path, train: Train) -> None:
    out, _ = train(painted, sample=True)
    assert set(answers(out)) == {f"{name}/{name}.{number}" for name in ("cat", "dog") for number in (0, 1)}
    assert all(json.loads((out / name).read_text())["sample"] for name in ("model.json", "result.json"))


def test_real_photographs_are_told_apart(tmp_path: Path, painted: Path, train: Train) -> None:
    root = _real(tmp_path / "real") if PHOTOGRAPHS.exists() else painted
    out, _ = train(root)
    result = json.loads((out / "result.json").read_text())
    assert result["accuracy"] >= 0.95
    assert result["log_loss"] < 0.15


def _real(root: Path) -> Path:
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        for name in ("cat", "dog"):
            for number in range(90):
                part = root / ("train" if number < 60 else "valid") / name
                part.mkdir(parents=True, exist_ok=True)
                (part / f"{number}.jpg").write_bytes(archive.read(f"train/{name}.{number}.jpg"))
    return root


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--epochs", "0"], 2, "not 1 or more"),
        (["--seed", "-1"], 2, "not 0 or more"),
        (["--unfreeze", "--tune-rates", "1e-5", "inf"], 2, "two rates above 0"),
        (["--model", "vgg61"], 2, "vgg16"),
        (["--weights-url", "http://127.0.0.1:1/x"], 2, "--weights-sha256"),
        ([], 1, "no data set at"),
    ],
)
def test_wrong_usage_is_said_without_torch(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    command = [
        "import sys; from trainer.__main__ import main; code = 0\n"
        "try: code = main(sys.argv[1:])\n"
        "except SystemExit as error: code = error.code\n"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    ]
    asked = ["--data", str(tmp_path / "none"), "--out", str(tmp_path / "out"), *arguments]
    done = subprocess.run([sys.executable, "-c", *command, *asked], capture_output=True, text=True)
    assert done.returncode == code
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_classes_by_name_where_accuracy_counts(painted: Path, train: Train) -> None:
    ids = [f"{number}.jpg" for number in range(11, 0, -1)]
    sample = "name,animal\n" + "".join(f"{name},cat\n" for name in ids)
    (painted / "sample_submission.csv").write_text(sample)
    out, _ = train(painted, metric="accuracy")
    with (out / "submission.csv").open() as file:
        rows = {row["name"]: row["animal"] for row in csv.DictReader(file)}
    assert rows == {name: "dog" if int(name[:-4]) % 2 else "cat" for name in ids}


def test_a_run_that_cannot_begin_leaves_the_finished_one(painted: Path, train: Train, tmp_path: Path) -> None:
    out, _ = train(painted)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(TrainerError, match="nosuch"):
        train(painted, wanted=weights.Wanted(tmp_path / "nosuch.pth"))
    (painted / "sample_submission.csv").write_text("id,label\n99,0.5\n")
    with pytest.raises(TrainerError, match="no photograph for 99"):
        train(painted)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_any_name_of_a_class_and_any_cache_will_do(painted: Path, train: Train, tmp_path: Path) -> None:
    name = "-c\n<b>at\r"
    for part in ("train", "valid"):
        (painted / part / "cat").rename(painted / part / name)
    (painted / "test" / "1.jpg").rename(painted / "test" / "1\r2.jpg")
    (tmp_path / "cache").write_text("a file where the folder should be")
    out, said = train(painted)
    assert (out / "SHA256SUMS").exists()
    with (out / "submission.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["1\r2", *map(str, range(2, 12))]
    assert sum("keeps no features" in line for line in said) == 1


def test_a_test_set_that_is_not_the_competition_s_is_refused_first(painted: Path, train: Train) -> None:
    (painted / "sample_submission.csv").write_text("id,label\n1,0.5\n99,0.5\n")
    with pytest.raises(TrainerError, match="no photograph for 99"):
        train(painted)


def test_views_are_trained_on_and_kept(painted: Path, train: Train, tmp_path: Path) -> None:
    plain, _ = train(painted)
    more, _ = train(painted, out="more", views=2)
    again, said = train(painted, out="again", views=2)
    assert (more / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert (more / "model.safetensors").read_bytes() != (plain / "model.safetensors").read_bytes()
    assert json.loads((more / "result.json").read_text())["train"] == 16
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 3
    assert json.loads((more / "manifest.json").read_text())["options"]["views"] == 2
    assert any("accuracy" in line or "fit" in line for line in said)


def test_through_the_network_and_back_from_its_files(painted: Path, train: Train) -> None:
    plan = Plan(epochs=2, layers=1, batch=2, rates=(1e-4, 1e-3), views=5)
    noisy(painted)
    # One pass leaves the head something to learn.
    out, said = train(painted, plan=plan, find_rate=True, balanced=True, epochs=1)
    result = json.loads((out / "result.json").read_text())
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    tuned = [event for event in events if event["event"] == "tuned"]
    assert [event["epoch"] for event in tuned] == [0, 1, 2]
    assert (out / "rates.png").read_bytes().startswith(b"\x89PNG")
    assert not (out / "tuning.safetensors").exists()
    assert min(event["val_loss"] for event in tuned) < tuned[0]["val_loss"], "else the test asks nothing"
    assert json.loads((out / "model.json").read_text())["views"] == 5
    assert any("is kept" in line for line in said)
    rows = predict.load(out).probabilities([painted / "test" / f"{name}.jpg" for name in answers(out)])
    assert numpy.allclose(rows[:, 1], list(answers(out).values()), atol=2e-3)
    assert result["stages"]["network"] > 0


def noisy(root: Path) -> None:
    """Photographs that are hard to tell apart: something is left for the network to learn."""
    for part in ("train", "valid"):
        for name in ("cat", "dog"):
            for number, path in enumerate(sorted((root / part / name).iterdir())):
                grey = 120 + (8 if name == "cat" else -8)
                paint(path, (grey, 120, 240 - grey), number + 1000 * len(part))
