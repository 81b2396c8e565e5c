"""A checkpoint is whole or not there, costs little, and a full disk takes only what is new."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainer import checkpoint

FILL = """
import sys
from pathlib import Path
from trainer import checkpoint
path = Path(sys.argv[1]) / "file"
checkpoint.write_bytes(path, b"good" * 10_000)
try:
    checkpoint.write_bytes(path, b"more" * 100_000)
except OSError as error:
    assert path.read_bytes() == b"good" * 10_000 and [p.name for p in path.parent.iterdir()] == ["file"]
    sys.exit(error.errno)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="only root may mount a disk")
def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    import errno

    script = f'mount -t tmpfs -o size=200k none {tmp_path} || exit 77; exec "$0" -c "$1" {tmp_path}'
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, sys.executable, FILL], capture_output=True, text=True)
    if "denied" in done.stderr or "not permitted" in done.stderr:
        pytest.skip("this root may not mount")
    assert done.returncode == errno.ENOSPC, done.stderr


def test_a_file_that_cannot_grow_is_said_once_and_written_when_it_can(tmp_path: Path) -> None:
    said: list[str] = []
    kept = checkpoint.Progress(tmp_path / "checkpoint", "key", said.append)
    kept.write({"weight": torch.zeros(9)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for value in (1, 2):
            kept.write({"weight": torch.full((9000,), value)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(said) == 1 and "what it held stays, and the training goes on" in said[0]
    assert len(checkpoint.Progress(tmp_path / "checkpoint", "key").tensors["weight"]) == 9
    kept.write({"weight": torch.full((9000,), 3.0)})
    assert float(checkpoint.Progress(tmp_path / "checkpoint", "key").tensors["weight"][0]) == 3
    assert len(said) == 1


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from trainer import checkpoint\n"
        "os.fsync = lambda _: os.kill(os.getpid(), 9)\n"
        "checkpoint.write_bytes(Path(sys.argv[1]), b'x' * 1000)"
    )
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run([sys.executable, "-c", program, str(out / "checkpoint")])
    assert done.returncode == -9 and len(list(out.iterdir())) == 1
    checkpoint.Progress(out / "checkpoint", "key")
    assert not list(out.iterdir())


def test_writing_takes_a_twentieth_of_the_time_at_most(tmp_path: Path) -> None:
    kept = checkpoint.Progress(tmp_path / "checkpoint", "key")
    assert not kept.due()
    kept._written -= checkpoint.WRITE_SECONDS
    assert kept.due()
    kept._cost = checkpoint.WRITE_SECONDS
    assert not kept.due()
    kept._written -= 19 * checkpoint.WRITE_SECONDS
    assert kept.due()


@pytest.mark.parametrize("count", [0, 1, 5])
def test_its_safetensors_are_those_of_the_library(tmp_path: Path, count: int) -> None:
    import safetensors.torch

    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    draw = torch.Generator().manual_seed(count)
    made = {f"a.{kind}": (torch.randn(count, 3, generator=draw) * 9).to(kind).t() for kind in kinds}
    made |= {"shared": made["a.torch.float32"], "single": torch.tensor(3.5), "Umlaut ä": torch.arange(7)}
    checkpoint.write_weights(tmp_path / "weights.safetensors", made)
    found = safetensors.torch.load_file(tmp_path / "weights.safetensors")
    assert found.keys() == made.keys()
    for name, tensor in made.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
