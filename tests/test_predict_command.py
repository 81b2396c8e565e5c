"""`gpu predict` at home, with a network small enough to be made on the spot."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import GpuError, UsageError
from orchestrator.verbs import predict as verbs

RUNS = ("20260101-120000-dogscats-00aa", "20260101-120000-dogscats-00ab", "20260102-120000-dogscats-00aa")
GPU = [sys.executable, "-m", "orchestrator"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three runs, of which the second and the third have a `model.json`."""
    for name in RUNS:
        (tmp_path / "runs" / name).mkdir(parents=True)
    for name in RUNS[1:]:
        (tmp_path / "runs" / name / "model.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_is_named_by_its_id_its_beginning_or_as_the_last(home: Path) -> None:
    runs = home / "runs"
    assert verbs.choose(runs, RUNS[1]).name == RUNS[1]
    assert verbs.choose(runs, "20260102").name == RUNS[2]
    assert verbs.choose(runs, "last").name == RUNS[2]
    with pytest.raises(UsageError, match=f"2 runs begin with 20260101.*{RUNS[0]} or {RUNS[1]}"):
        verbs.choose(runs, "20260101")
    with pytest.raises(UsageError, match="there is no run tomorrow"):
        verbs.choose(runs, "tomorrow")
    with pytest.raises(GpuError, match=f"{RUNS[0]} has no weights.*gpu pull"):
        verbs.choose(runs, RUNS[0])
    with pytest.raises(GpuError, match=r"no run in .* has weights.*gpu pull"):
        verbs.choose(home / "none", "last")


def test_without_torch_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(GpuError, match=r"has no torch.*\[trainer\]"):
        verbs.predict(home / "runs" / RUNS[2], [home])


@pytest.mark.usefixtures("home")
def test_a_damaged_run_is_said_in_one_sentence() -> None:
    done = subprocess.run([*GPU, "predict", "last", "x.jpg"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing was predicted" in done.stderr and "model.json is damaged" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def photographs(home: Path) -> None:
    """The last run's weights, and three photographs of which the second cannot be read."""
    torch = pytest.importorskip("torch")
    from PIL import Image

    from trainer import checkpoint, models

    run = home / "runs" / RUNS[2]
    torch.manual_seed(0)
    network = models.build("efficientnet_lite0")
    network.set_head(torch.nn.Linear(network.width, 2))
    checkpoint.write_weights(run / "model.safetensors", network.whole.state_dict())
    document = {
        "architecture": network.name,
        "classes": ["cat", "dog"],
        "preprocessing": models.preprocessing(network.name).document(),
        "temperature": 1.0,
        "clip": 0.01,
        "sha256": checkpoint.digest(run / "model.safetensors"),
    }
    checkpoint.write_json(run / "model.json", document)
    folder = home / "photographs"
    folder.mkdir()
    for name, colour in (("1 of mine.jpg", "red"), ("10.jpg", "blue")):
        Image.new("RGB", (40, 30), colour).save(folder / name)
    (folder / "2.jpg").write_bytes(b"no photograph")
    # What lies in the current folder must not be taken for a library.
    (home / "torch.py").write_text("raise SystemExit('the wrong torch')")


@pytest.mark.usefixtures("photographs")
def test_the_others_are_predicted_when_one_cannot_be_read() -> None:
    words = [*GPU, "predict", "last"]
    done = subprocess.run([*words, "photographs", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "1 of 3 files could not be predicted" in done.stderr and "photographs/2.jpg" in done.stderr
    found = {entry["file"]: entry for entry in json.loads(done.stdout)}
    assert list(found) == [f"photographs/{name}" for name in ("1 of mine.jpg", "2.jpg", "10.jpg")]
    assert "error" in found["photographs/2.jpg"]
    good = ["photographs/10.jpg", "photographs/1 of mine.jpg"]
    done = subprocess.run([*words, *good, "--csv", "--top", "2"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rows = csv.reader(done.stdout.splitlines())
    assert heading == ["file", "class", "probability", "class_2", "probability_2"]
    assert [row[0] for row in rows] == good
    for row in rows:
        assert row[1] == found[row[0]]["class"]
        assert float(row[2]) == pytest.approx(found[row[0]]["probability"], abs=1e-3)
        assert float(row[2]) + float(row[4]) == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("photographs")
def test_ctrl_c_ends_it_and_what_it_started() -> None:
    process = subprocess.Popen(
        [*GPU, "predict", "last", "photographs"], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: any("trainer.predict" in words for words in group(process.pid)))
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said and said.endswith("gpu: interrupted\n")
    wait_until(lambda: not group(process.pid))


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def group(leader: int) -> list[str]:
    """The command lines of the processes of a group that have not ended."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, number = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if number == str(leader) and state != "Z":
                lines.append((folder / "cmdline").read_text())
    return lines
