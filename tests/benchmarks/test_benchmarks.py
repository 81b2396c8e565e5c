"""The benchmarks run; what they measure depends on the computer and is asserted nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ip", "entrance", "start", "sync", "train"])
def test_a_round_of_each_prints_a_ratio(name: str) -> None:
    argv = [sys.executable, "-m", f"tests.benchmarks.{name}", "--rounds", "1"]
    root = Path(__file__).parents[2]
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "ratio" in done.stdout
