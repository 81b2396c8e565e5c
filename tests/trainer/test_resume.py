"""A run that is ended at any moment and resumed gives the same weights, to the bit, as one that never was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer import checkpoint, data, job, weights
from trainer.logbook import Logbook

from .hardware import DEVICE

Ready = Callable[[str], bool]


def begin(root: Path, out: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    words = ["--data", str(root), "--out", str(out), "--cache", str(cache), "--device", DEVICE, "--batch-size", "4"]
    argv = [sys.executable, "-m", "trainer", *words, *more]
    return subprocess.Popen(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    return out


def struck(process: subprocess.Popen[str], ready: Ready, number: int) -> str:
    """What it said until a line made it ready to be struck, and after that."""
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if ready(line):
            break
    time.sleep(0.05)
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    return said + rest


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_struck_in_the_fit_it_ends_in_the_same_weights(painted: Path, tmp_path: Path, number: int) -> None:
    epochs = ("--epochs", "300")
    finish(begin(painted, tmp_path / "whole", tmp_path / "cache", *epochs))
    out = tmp_path / "struck"
    process = begin(painted, out, tmp_path / "other", *epochs)
    said = struck(process, lambda line: line.startswith("Epoch 20/"), number)
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert "--resume" in said
        assert (out / "checkpoint.safetensors").exists()
    assert not (out / "SHA256SUMS").exists()
    resumed = finish(begin(painted, out, tmp_path / "other", *epochs, "--resume"))
    if number == signal.SIGTERM:
        assert "going on from the checkpoint" in resumed
        assert "Epoch 1/300" not in resumed
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert (out / "submission.csv").read_bytes() == (tmp_path / "whole" / "submission.csv").read_bytes()
    assert not (out / "checkpoint.safetensors").exists()
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == list(range(1, 301))


def run(root: Path, tmp_path: Path, *, resume: bool, epochs: int | None = None) -> list[str]:
    said: list[str] = []
    options = job.Options(
        tmp_path / "out", tmp_path / "cache", "efficientnet_lite0", weights.Wanted(), epochs, 8, 0, DEVICE, resume
    )
    job.Job(options, data.walk(root), said.append).run()
    return said


class Struck(BaseException):
    pass


@pytest.mark.parametrize("epochs", [None, 4])
def test_what_is_done_is_not_done_again(
    painted: Path, tmp_path: Path, epochs: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = Logbook.fitted

    def strike(self: Logbook, entry: dict[str, object]) -> None:
        if entry["epoch"] == 3:
            raise Struck
        tell(self, entry)

    monkeypatch.setattr(Logbook, "fitted", strike)
    with pytest.raises(Struck):
        run(painted, tmp_path, resume=False, epochs=epochs)
    monkeypatch.undo()
    steps = [line for line in run(painted, tmp_path, resume=True, epochs=epochs) if line.startswith(("fit", "Epoch"))]
    assert [line.split()[1].partition("/")[0] for line in steps] == [str(n) for n in range(3, (epochs or 6) + 1)]


def test_a_checkpoint_of_another_wish_or_a_damaged_one_is_not_taken(tmp_path: Path) -> None:
    import torch

    file = tmp_path / "checkpoint.safetensors"
    made = checkpoint.Progress(file, "this")
    made.facts["history"] = [{"epoch": 1}]
    made.save({"weight": torch.ones(3)})
    made.flush()
    found = checkpoint.Progress(file, "this")
    assert torch.equal(found.tensors["weight"], torch.ones(3))
    assert found.facts == made.facts
    assert checkpoint.Progress(file, "that").tensors == {}
    content = file.read_bytes()
    for damaged in (content[:-1], content[:20], b"", b"\xff" * 100):
        file.write_bytes(damaged)
        assert checkpoint.Progress(file, "this").tensors == {}


@pytest.mark.slow
def test_features_that_are_done_are_kept_in_whole_batches(painted: Path, tmp_path: Path) -> None:
    """Ended in mid-way, the rest is computed in the batches in which it would have been."""
    import numpy

    from trainer.images import Preprocessing
    from trainer.recipe import Recipe
    from trainer.store import Store

    how = Preprocessing(32, None, "bicubic", (0.5,) * 3, (0.5,) * 3)
    recipe = Recipe("a", "b", "c", how, "float32", "cpu")
    store = Store(tmp_path, recipe, 2)
    batch = {bytes([n]) * 32: numpy.full(2, n, dtype=numpy.float32) for n in range(4)}
    store.put(batch)
    store.put({bytes([0]) * 32: numpy.full(2, 9, dtype=numpy.float32)})
    store.save()
    found = Store(tmp_path, recipe, 2)
    assert len(found) == 4
    assert float(found.get(bytes(32))[0]) == 0  # type: ignore[index]
    out = tmp_path / "out"
    said = struck(begin(painted, out, tmp_path / "cache"), lambda line: "on the CPU" in line, signal.SIGTERM)
    assert "Traceback" not in said
    whole = finish(begin(painted, tmp_path / "whole", tmp_path / "fresh"))
    finish(begin(painted, out, tmp_path / "cache", "--resume"))
    assert "accuracy" in whole
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
