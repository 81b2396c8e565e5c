from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer import memory
from trainer.errors import TrainerError


def groups(tmp_path: Path, limit: str, used: int, cached: int) -> Path:
    """A control group /a/b of version 2 of which /a has the limit."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "a" / "memory.current").write_text(f"{used << 20}\n")
    (tmp_path / "a" / "memory.stat").write_text(f"anon 1\ninactive_file {cached << 20}\n")
    own = tmp_path / "cgroup"
    own.write_text("3:cpu:/\n0::/a/b\n")
    return own


@pytest.mark.parametrize(("limit", "left"), [(str(500 << 20), 250), ("max", 1100)])
def test_the_narrowest_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, left: int) -> None:
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9999999 kB\nMemAvailable: 1024000 kB\nSwapFree: 102400 kB\n")
    status = tmp_path / "status"
    status.write_text("VmRSS:\t 90000 kB\nRssAnon:\t 20480 kB\n")
    assert memory.available(meminfo, groups(tmp_path, limit, 300, 50), status) == left + 20


def test_too_little_is_said_with_the_figures() -> None:
    here = memory.available()
    assert here is not None and here > 0
    with pytest.raises(TrainerError, match=rf"MiB of memory are available here, and a run needs {1 << 40} MiB"):
        memory.check(1 << 40)


LIMIT = (memory.FLOOR_MIB + 40) << 20
"""The kernel's own memory for a process (page tables, buffers) counts in its group, too."""


@pytest.fixture
def confined() -> Iterator[Path]:
    """A control group that may take what a run needs, and no swap."""
    kinds = (("memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), (".", "memory.max", "memory.swap.max"))
    for kind, limit, swap in kinds:
        group = Path("/sys/fs/cgroup") / kind / f"gpu-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / limit).exists():
                (group / limit).write_text(str(LIMIT))
                if (group / swap).exists():
                    (group / swap).write_text(str(LIMIT) if "memsw" in swap else "0")
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("only root can confine a process's memory, and only where it may make control groups")


def test_at_the_floor_a_run_passes(confined: Path, painted: Path, tmp_path: Path) -> None:
    words = ["--data", str(painted), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    inside = f'echo $$ >"{confined}/cgroup.procs" && exec "$@"'
    argv = ["sh", "-c", inside, "sh", sys.executable, "-m", "trainer", *words, "--device", "cpu"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "SHA256SUMS").exists()
