"""Scores against what they should be, and every look remembered."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import jpeg, tree, unpacked, zipped

from orchestrator.cli.main import main
from orchestrator.data import holdout
from orchestrator.data.prepare import prepare
from orchestrator.data.scoring import Figure, Score, bootstrap, score, wilson
from orchestrator.data.split import Amount, Shares
from orchestrator.errors import GpuError
from orchestrator.reporter import Silent
from trainer import submission


def handed_in(
    folder: Path, classes: Sequence[str], rows: Mapping[str, Sequence[float]], metric: str = "log_loss"
) -> Path:
    """As the trainer writes it."""
    file = folder / "submission.csv"
    form = submission.Form.of(classes, list(rows), metric=metric)
    file.write_bytes(form.table(list(rows.values())))
    return file


def test_two_classes_have_the_probability_of_the_second(tmp_path: Path) -> None:
    rows = {"1": [0.9, 0.1], "2": [0.2, 0.8], "10": [0.4, 0.6]}
    found = score(
        handed_in(tmp_path, ["cat", "dog"], rows), {"1": "cat", "2": "dog", "10": "cat"}, ["cat", "dog"], "log_loss"
    )
    assert found.images == 3 and found.accuracy.value == 2 / 3 and found.log_loss is not None
    assert found.log_loss.value == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.4)) / 3)
    assert found.log_loss.low < found.log_loss.value < found.log_loss.high


@given(st.integers(3, 6), st.data())
def test_many_classes_have_a_column_each(classes: int, data: st.DataObject) -> None:
    import tempfile

    names = [f"class {n}" for n in range(classes)]
    raw = data.draw(
        st.lists(st.lists(st.integers(1, 1000), min_size=classes, max_size=classes), min_size=1, max_size=8)
    )
    rows = {str(n): [round(v / sum(row), 6) for v in row] for n, row in enumerate(raw)}
    labels = {id_: data.draw(st.sampled_from(names)) for id_ in rows}
    with tempfile.TemporaryDirectory() as folder:
        found = score(handed_in(Path(folder), names, rows), labels, names, "log_loss")
        named = score(handed_in(Path(folder), names, rows, "accuracy"), labels, names, "accuracy")
    right = sum(names[row.index(max(row))] == labels[id_] for id_, row in rows.items())
    assert found.accuracy == named.accuracy == wilson(right, len(rows)) and named.log_loss is None
    losses = [-math.log(max(row[names.index(labels[id_])] / sum(row), 1e-15)) for id_, row in rows.items()]
    assert found.log_loss is not None and found.log_loss.value == pytest.approx(sum(losses) / len(losses))


def test_an_accuracy_submission_says_0_or_1(tmp_path: Path) -> None:
    file = handed_in(tmp_path, ["cat", "dog"], {"a": [0.1, 0.9], "b": [0.1, 0.9]}, "accuracy")
    assert score(file, {"a": "dog", "b": "cat"}, ["cat", "dog"], "accuracy") == Score(2, wilson(1, 2), None)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("id,label\n1,0.5\n", "differ in 1 ids, 2"),
        ("id,label\n1,0.5\n2,0.5\n3,1\n", "differ in 1 ids, 3"),
        ("id,label\n1,0.5\n2,high\n", "something else than numbers"),
        ("id,label\n1,0.5\n2,nan\n", "probabilities that are none"),
        ("id,label\n1,0.5\n1,0.5\n", "an id is there twice"),
        ("id,label\n1,0.5\n2\n", "not like its header"),
        ("id,cat,bird\n1,0.5,0.5\n2,0.5,0.5\n", "not the classes"),
        ("id,cat,dog\n1,0,0\n2,0,1\n", "rows of zeros"),
        ("", "not like its header"),
    ],
)
def test_what_cannot_be_scored_is_said(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "submission.csv"
    file.write_text(content)
    with pytest.raises(GpuError, match=why):
        score(file, {"1": "cat", "2": "dog"}, ["cat", "dog"], "log_loss")
    with pytest.raises(GpuError, match="knows no class 'fox'"):
        score(file, {"1": "fox"}, ["cat", "dog"], "log_loss")


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Wilson's known values; of 40 bootstraps over draws of a known mean nearly all contain it."""
    import random

    assert wilson(0, 10).high == pytest.approx(0.2775, abs=1e-4) and wilson(0, 10).low == 0
    assert wilson(80, 100) == Figure(0.8, pytest.approx(0.7111, abs=1e-4), pytest.approx(0.8667, abs=1e-4))
    chance = random.Random(0)
    held = 0
    for _ in range(40):
        found = bootstrap([chance.expovariate(1) for _ in range(40)])
        held += found.low <= 1 <= found.high
    assert 34 <= held <= 40


def sealed_set(folder: Path, count: int = 5, seed: int = 0) -> tuple[Path, dict[str, bytes]]:
    files = {f"{c}/{i}.jpg": jpeg(100 * n + i) for n, c in enumerate(("cat", "dog", "fox")) for i in range(count)}
    source = zipped(folder / "a.zip", files)
    prepare("p", [source], root=folder / "data", seed=seed, shares=Shares(holdout=Amount(count=2)), reporter=Silent())
    return folder / "data", files


def test_a_seal_tells_nothing_and_holds_everything(tmp_path: Path) -> None:
    root, files = sealed_set(tmp_path)
    test = root / "p" / "test"
    assert sorted(int(file.stem) for file in test.iterdir()) == [1, 2, 3, 4, 5, 6]
    assert {file.stat().st_mtime for file in test.iterdir()} == {0}
    seal = holdout.find(root, "p", holdout.fingerprint(root / "p"))
    assert seal is not None and stat.S_IMODE(seal.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(seal.file.parent.stat().st_mode) == 0o700
    class_of = {data: name.partition("/")[0] for name, data in files.items()}
    assert seal.labels == {file.stem: class_of[file.read_bytes()] for file in test.iterdir()}
    order = [seal.labels[str(n)] for n in range(1, 7)]
    assert order != sorted(order) and sorted(order) == ["cat", "cat", "dog", "dog", "fox", "fox"]
    # Of what may ever be sent, nothing is a copy of a sealed image, and nothing holds its labels.
    others = [data for name, data in tree(root / "p").items() if not name.startswith("test/")]
    assert not set(others) & {file.read_bytes() for file in test.iterdir()}
    assert not any(b'"labels"' in data for data in others)


def test_looks_outlive_the_data_set_and_each_other(tmp_path: Path) -> None:
    root, _ = sealed_set(tmp_path)
    images = holdout.fingerprint(root / "p")
    seal = holdout.find(root, "p", images)
    assert seal is not None and seal.looks() == []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: seal.remember({"run": str(number)}), range(40)))
    assert sorted(int(look["run"]) for look in seal.looks()) == list(range(40))
    with seal.file.with_suffix(".looks.jsonl").open("a") as stream:
        stream.write('{"run": "cut')
    assert seal.remember({"run": "after"}) == 41
    os.rename(root / "p", tmp_path / "away")  # noqa: PTH104
    sealed_set(tmp_path)
    again = holdout.find(root, "p", images)
    assert again is not None and len(again.looks()) == 41 and again.labels == seal.labels
    os.rename(root / "p", tmp_path / "away2")  # noqa: PTH104
    sealed_set(tmp_path, seed=1)
    assert holdout.fingerprint(root / "p") != images
    assert holdout.find(root, "p", images) is not None and holdout.has_any(root, "p") and not holdout.has_any(root, "q")


def test_a_damaged_seal_is_said(tmp_path: Path) -> None:
    root, _ = sealed_set(tmp_path)
    images = holdout.fingerprint(root / "p")
    seal = holdout.find(root, "p", images)
    assert seal is not None
    seal.file.write_text("{")
    with pytest.raises(GpuError, match="is damaged"):
        holdout.find(root, "p", images)
    assert holdout.find(root, "p", "../../etc/passwd") is None


def test_a_test_of_its_own_and_a_seal_do_not_mix(tmp_path: Path) -> None:
    files = {f"train/{c}/{i}.jpg": jpeg(i) for c in ("cat", "dog") for i in range(5)} | {"test/1.jpg": jpeg(7)}
    source = unpacked(tmp_path / "a", files)
    with pytest.raises(GpuError, match="a test of their own"):
        prepare("p", [source], root=tmp_path / "d", shares=Shares(holdout=Amount(share=0.1)), reporter=Silent())
    assert not [path for path in (tmp_path / "d").rglob("*") if path.is_file()]


def test_the_manifest_of_a_run_has_the_same_fingerprint(tmp_path: Path) -> None:
    manifest = pytest.importorskip("trainer.manifest")
    from trainer.data import walk

    root, _ = sealed_set(tmp_path)
    data = walk(root / "p")
    split = manifest.Split("test", [question.path for question in data.test])
    assert manifest.digest(root / "p", split) == holdout.fingerprint(root / "p")
    assert json.loads((root / "p" / ".gpu-dataset.json").read_text())["shares"]["holdout"]["count"] == 2


RUN = "20260101-120000-p-0a0b"
PROMISE = {
    "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95},
    "log_loss": {"clipped": {"value": 0.3, "low": 0.1, "high": 0.5}},
}


def run_at_home(folder: Path, answers: Mapping[str, str], *, sure: float, promise: object = PROMISE) -> None:
    """The files of a run on the sealed set, of one that says `answers` with the probability `sure`."""
    run = folder / "runs" / RUN
    run.mkdir(parents=True, exist_ok=True)
    classes = ["cat", "dog", "fox"]
    rows = {id_: [sure if name == label else (1 - sure) / 2 for name in classes] for id_, label in answers.items()}
    handed_in(run, classes, rows)
    images = holdout.fingerprint(folder / "data" / "p")
    documents = {
        "job": {"data": "p"},
        "model": {"classes": classes},
        "result": {"metric": "log_loss", "expected": promise},
    }
    for name, document in {**documents, "manifest": {"data": {"name": "p", "test": {"sha256": images}}}}.items():
        (run / f"{name}.json").write_text(json.dumps(document))
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in run.iterdir() if file.suffix != ""
    ]
    (run / "SHA256SUMS").write_text("".join(lines))


def test_the_promise_is_kept_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = sealed_set(tmp_path, count=60)
    seal = holdout.find(root, "p", holdout.fingerprint(root / "p"))
    assert seal is not None
    monkeypatch.chdir(tmp_path)

    def gpu(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        return int(ended.value.code or 0), *capsys.readouterr()

    def verdict() -> str:
        code, out, _ = gpu("score", RUN, "--json")
        assert code == 0
        return str(json.loads(out)["verdict"])

    right = dict(seal.labels)
    wrong = {id_: "dog" if label == "cat" else "cat" for id_, label in right.items()}
    run_at_home(tmp_path, right, sure=0.8)
    assert verdict() == "kept" and "this was the first look" not in gpu("score", RUN)[1]
    run_at_home(tmp_path, right, sure=0.999)
    assert verdict() == "better"
    run_at_home(tmp_path, wrong, sure=0.8)
    assert verdict() == "worse"
    assert "do its validation images leak" in gpu("score", RUN)[1]
    for garbage in (
        None,
        [],
        {"accuracy": {"value": "high"}, "log_loss": 3},
        {"accuracy": {"value": True, "low": 0, "high": 1}},
    ):
        run_at_home(tmp_path, right, sure=0.8, promise=garbage)
        assert verdict() == "unknown"
    looks = len(seal.looks())
    assert looks == 9

    submission_file = tmp_path / "runs" / RUN / "submission.csv"
    submission_file.write_bytes(submission_file.read_bytes().replace(b"0.800000", b"0.900000", 1))
    code, _, said = gpu("score", RUN)
    assert code == 1 and "submission.csv of" in said and "is not what the machine made" in said
    submission_file.unlink()
    assert "has answered nothing" in gpu("score", RUN)[2]
    assert len(seal.looks()) == looks, "what was not shown is no look"
