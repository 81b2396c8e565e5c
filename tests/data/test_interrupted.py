"""A preparation that is killed leaves nothing that the next one minds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from test_prepare import kaggle, tree

from orchestrator.data.prepare import prepare
from orchestrator.reporter import Silent

PREPARE = """
import sys; from pathlib import Path
from orchestrator.data.prepare import prepare; from orchestrator.reporter import Silent
prepare("p", [Path(a) for a in sys.argv[2:]], root=Path(sys.argv[1]), reporter=Silent())
"""


def test_kill_and_rerun_gives_the_undisturbed_tree(tmp_path: Path) -> None:
    archives = kaggle(tmp_path, 1500)
    root = tmp_path / "a"
    child = subprocess.Popen([sys.executable, "-c", PREPARE, str(root), *map(str, archives)])
    while not list(root.glob(".p.part-*/.incoming/5")):
        assert child.poll() is None
        time.sleep(0.002)
    child.kill()
    child.wait()
    assert not (root / "p").exists() and list(root.iterdir())
    for folder in (root, tmp_path / "b"):
        prepare("p", archives, root=folder, reporter=Silent())
    assert tree(root) == tree(tmp_path / "b")
