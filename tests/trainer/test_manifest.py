from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from trainer import manifest
from trainer.manifest import Spent, Split

CPU = torch.device("cpu")
WEIGHTS = {"source": "https://me:secret@host.example:8443/vgg16.pth?key=xyz#x", "sha256": "5" * 64}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "data" / "train" / name for name in ("b.jpg", "a b.jpg", os.fsdecode(b"\xff.jpg"))]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]))
    return paths


def made(root: Path, paths: list[Path], price: float | None = None) -> dict[str, object]:
    return manifest.document(
        root,
        [Split("train", paths)],
        weights=WEIGHTS,
        options={"model": "vgg16", "seed": 3},
        device=CPU,
        spent=Spent(1800, price),
    )


def test_a_split_is_one_sum_over_names_and_contents(tmp_path: Path, files: list[Path]) -> None:
    root = tmp_path / "data"
    found = manifest.digest(root, Split("train", files))
    # By other means: sha256sum's own lines, each ended by a zero byte, in the order of the names' bytes.
    script = "find train -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum -z | sha256sum"
    done = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert found == done.stdout.split()[0]
    assert manifest.digest(root, Split("train", files[::-1])) == found
    known = [hashlib.sha256(path.read_bytes()).digest() for path in files]
    assert manifest.digest(root, Split("train", files, known)) == found
    files[0].write_bytes(b"changed")
    changed = manifest.digest(root, Split("train", files))
    files[0].rename(files[0].with_name("c.jpg"))
    renamed = manifest.digest(root, Split("train", [files[0].with_name("c.jpg"), *files[1:]]))
    assert len({found, changed, renamed}) == 3


def test_it_says_what_a_run_was_made_of(tmp_path: Path, files: list[Path]) -> None:
    document = json.loads(json.dumps(made(tmp_path / "data", files, price=0.9), allow_nan=False))
    assert document["data"]["name"] == "data" and document["data"]["train"]["photographs"] == 3
    assert document["versions"]["python"] == platform.python_version()
    assert document["versions"]["torch"] == torch.__version__ and document["versions"]["pillow"]
    hardware = document["hardware"]
    assert 1 <= hardware["cores"] <= (os.cpu_count() or 1) and hardware["memory_gib"] > 0.2 and hardware["cpu"]
    assert (document["seconds"], document["dollars"]) == (1800, 0.45)
    assert document["options"] == {"model": "vgg16", "seed": 3}
    assert len(document["code"]["trainer"]) == 64
    assert made(tmp_path / "data", files)["dollars"] is None


def test_it_tells_no_secret_and_no_place(tmp_path: Path, files: list[Path]) -> None:
    text = json.dumps(made(tmp_path / "data", files))
    assert "secret" not in text and "xyz" not in text and "me:" not in text
    assert "https://host.example:8443/vgg16.pth" in text
    for word in (str(tmp_path), platform.node(), str(Path.home()), f'"{getpass.getuser()}"'):
        assert word not in text


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("the file that was given", "the file that was given"),
        ("https://download.pytorch.org/models/a.pth", "https://download.pytorch.org/models/a.pth"),
        ("http://[bad", "a URL"),
        ("http://host:port/a", "a URL"),
    ],
)
def test_sources_keep_what_is_no_secret(source: str, shown: str) -> None:
    assert manifest.without_secrets(source) == shown


def test_a_lost_photograph_is_no_error(tmp_path: Path, files: list[Path]) -> None:
    files[1].unlink()
    assert len(manifest.digest(tmp_path / "data", Split("train", files))) == 64
