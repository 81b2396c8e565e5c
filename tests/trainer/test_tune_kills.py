"""Struck at any moment and called again, a training ends in the same bits as one that never was."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer import checkpoint

from .hardware import DEVICE
from .nursery import Nursery, nursery

TUNING = "tests.trainer.tuning"
FIT = "trainer.__main__"


@pytest.fixture(scope="module")
def processes() -> Iterator[Nursery]:
    with nursery() as made:
        yield made


def fit(root: Path, out: Path, cache: Path) -> list[object]:
    words = ["--data", root, "--out", out, "--cache", cache, "--device", DEVICE, "--batch-size", 4, "--seed", 3]
    return [*words, "--epochs", 400, "--resume"]


def finish(processes: Nursery, module: str, log: Path, *arguments: object) -> tuple[str, float]:
    """What it said, and the seconds that it took."""
    began = time.monotonic()
    child = processes.begin(module, log, *arguments)
    assert child.wait() == 0, child.said()
    return child.said(), time.monotonic() - began


def struck(processes: Nursery, module: str, log: Path, seconds: float, number: int, *arguments: object) -> int:
    child = processes.begin(module, log, *arguments)
    time.sleep(seconds)
    child.strike(number)
    return child.wait()


def until_done(processes: Nursery, log: Path, draw: random.Random, arguments: list[object], longest: float) -> int:
    """Kill it at random moments until it is through; how often it was killed."""
    for kills in range(100):
        code = struck(processes, TUNING, log, draw.uniform(0, longest), signal.SIGKILL, *arguments)
        if code == 0:
            return kills
        assert code == -signal.SIGKILL, log.read_text()
    raise AssertionError("it never came through")


def test_killed_again_and_again_it_ends_in_the_same_weights(painted: Path, tmp_path: Path, processes: Nursery) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    log = tmp_path / "log"
    _, seconds = finish(processes, TUNING, log, painted, tmp_path / "whole")
    draw = random.Random(1)
    went_on = 0
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        moment = draw.uniform(0.4, 0.7) * seconds
        code = struck(processes, TUNING, log, moment, number, painted, tmp_path / "killed")
        assert code in (-number, 143, 0), log.read_text()
        went_on += "going on from the checkpoint" in log.read_text()
    said, _ = finish(processes, TUNING, log, painted, tmp_path / "killed")
    assert went_on and "going on from the checkpoint" in said
    same(tmp_path / "whole", tmp_path / "killed")


def test_a_notice_leaves_the_checkpoint_of_the_last_step(painted: Path, tmp_path: Path, processes: Nursery) -> None:
    child = processes.begin(TUNING, tmp_path / "log", painted, tmp_path, "--epochs", 500)
    while "epoch 3 " not in child.said():
        time.sleep(0.02)
    child.strike(signal.SIGTERM)
    assert child.wait() == 143
    epochs = child.said().count("epoch ") - 1
    said = processes.begin(TUNING, tmp_path / "log", painted, tmp_path, "--epochs", 500)
    while "going on" not in said.said():
        time.sleep(0.02)
    said.strike(signal.SIGKILL)
    said.wait()
    line = next(line for line in said.said().splitlines() if "going on" in line)
    assert 4 * epochs <= int(line.split("after ")[1].split()[0]) <= 4 * epochs + 4


def test_a_full_disk_leaves_the_last_checkpoint(painted: Path, tmp_path: Path, processes: Nursery) -> None:
    for name in ("whole", "full"):
        (tmp_path / name).mkdir()
    finish(processes, TUNING, tmp_path / "log", painted, tmp_path / "whole")
    said, _ = finish(processes, TUNING, tmp_path / "log", painted, tmp_path / "full", "--file-limit", 1000)
    assert said.count("cannot be written (File too large): what it held stays") == 1
    assert "epoch 6" in said
    same(tmp_path / "whole", tmp_path / "full")
    (tmp_path / "full" / "weights.safetensors").unlink()
    again, _ = finish(processes, TUNING, tmp_path / "log", painted, tmp_path / "full")
    assert "going on from the checkpoint, after" in again and "after 24 of 24" not in again
    same(tmp_path / "whole", tmp_path / "full")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_fifty_kills_end_in_the_same_weights(painted: Path, tmp_path: Path, processes: Nursery) -> None:
    """25 of the training through the network, and 25 of the fit of the head, at moments drawn from its whole length."""
    draw = random.Random(50)
    (tmp_path / "whole").mkdir()
    log = tmp_path / "log"
    _, seconds = finish(processes, TUNING, log, painted, tmp_path / "whole")
    kills = runs = 0
    while kills < 25:
        out = tmp_path / f"killed.{runs}"
        out.mkdir()
        kills += until_done(processes, log, draw, [painted, out], seconds)
        runs += 1
        same(tmp_path / "whole", out)
    _, seconds = finish(processes, FIT, log, *fit(painted, tmp_path / "fit", tmp_path / "cache"))
    digest = checkpoint.digest(tmp_path / "fit" / "model.safetensors")
    for number in range(25):
        out, cache = tmp_path / f"fit.{number}", tmp_path / f"cache.{number}"
        struck(processes, FIT, log, draw.uniform(0, seconds), signal.SIGKILL, *fit(painted, out, cache))
        finish(processes, FIT, log, *fit(painted, out, cache))
        assert checkpoint.digest(out / "model.safetensors") == digest, f"after kill {number} of the fit"


def same(whole: Path, other: Path) -> None:
    assert checkpoint.digest(whole / "weights.safetensors") == checkpoint.digest(other / "weights.safetensors")
    assert not list(other.glob("*.partial")) and not list(other.glob(".*"))
