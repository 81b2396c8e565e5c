"""Weights from a server on this computer: the right ones, the wrong ones, half of them, none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
import torchvision

from trainer import checkpoint, data, job, models, names, weights
from trainer.errors import TrainerError

from .hardware import DEVICE


@contextmanager
def serving(path: Path, announced: int | None = None) -> Iterator[str]:
    """A server whose every file is `path`; `announced` bytes are promised."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(announced or path.stat().st_size))
            self.end_headers()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    self.wfile.write(block)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def small(path: Path) -> str:
    torch.save(models.build("squeezenet1_1").whole.state_dict(), path)
    return checkpoint.digest(path)


def test_the_list_is_torchvisions() -> None:
    published = torchvision.models.list_models(module=torchvision.models)
    assert list(names.known()) == sorted([*published, "efficientnet_lite0"])


@pytest.mark.slow
def test_vgg16_whole_from_a_server(painted: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "vgg16.pth"
    torch.save(models.build("vgg16").whole.state_dict(), file)
    digest = checkpoint.digest(file)
    said: list[str] = []
    with serving(file) as url:
        wanted = weights.Wanted(url=f"{url}/vgg16.pth", sha256=digest)
        options = job.Options(tmp_path / "out", tmp_path / "cache", "vgg16", wanted, 3, 4, 0, DEVICE)
        result = job.Job(options, data.walk(painted, sample=True), said.append).run()
    assert sum(line.startswith("Epoch ") for line in said) == 3
    assert json.loads((tmp_path / "out" / "model.json").read_text())["weights"]["sha256"] == digest
    assert result["submission"] and (tmp_path / "out" / "SHA256SUMS").exists()


def test_a_mirror_has_torchvisions_names_and_sums(tmp_path: Path) -> None:
    small(tmp_path / "file")
    with serving(tmp_path / "file") as url, pytest.raises(TrainerError, match="expected was b8a52dc0"):
        weights.obtain("squeezenet1_1", weights.Wanted(mirror=url), tmp_path / "cache", print)
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_a_cut_transfer_leaves_nothing(tmp_path: Path) -> None:
    digest = small(tmp_path / "file")
    size = (tmp_path / "file").stat().st_size
    with serving(tmp_path / "file", announced=size + 1) as url, pytest.raises(TrainerError, match="broke off"):
        weights.obtain("squeezenet1_1", weights.Wanted(url=f"{url}/x", sha256=digest), tmp_path / "cache", print)
    assert not list((tmp_path / "cache").rglob("*.*"))


def test_an_unreachable_server_is_told_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"cannot be had from .*--weights FILE"):
        weights.obtain("vgg16", weights.Wanted(mirror="http://127.0.0.1:1"), tmp_path, print)


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"layer": subprocess.Popen}, tmp_path / "evil.pth")
    given = weights.obtain("vgg16", weights.Wanted(file=tmp_path / "evil.pth"), tmp_path, print)
    with pytest.raises(TrainerError, match="no file of weights"):
        weights.load(given)


def test_weights_of_another_model_do_not_fit(tmp_path: Path) -> None:
    small(tmp_path / "file")
    given = weights.obtain("resnet18", weights.Wanted(file=tmp_path / "file"), tmp_path, print)
    with pytest.raises(TrainerError, match="do not fit resnet18"):
        models.load(models.build("resnet18"), weights.load(given))


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0", "mobilenet_v3_small", "densenet121", "mnasnet0_5"])
def test_features_go_into_the_head(name: str) -> None:
    network = models.build(name)
    models.load(network, dict(models.build(name).whole.state_dict()))
    network.set_head(torch.nn.Identity())
    assert network.whole(torch.zeros(2, 3, 64, 64)).shape == (2, network.width)


def test_killed_while_writing_there_is_no_half_file(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from trainer import checkpoint\n"
        "print('go', flush=True)\n"
        "while True: [checkpoint.write_bytes(Path(sys.argv[1]), bytes([n]) * 3_000_000) for n in range(9)]"
    )
    path = tmp_path / "whole"
    child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None and child.stdout.readline() == b"go\n"
        while not path.exists():
            time.sleep(0.01)
        child.kill()
    content = path.read_bytes()
    assert len(content) == 3_000_000 and len(set(content)) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_without_a_traceback(painted: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    fifo = tmp_path / "weights.pth"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "trainer", "--data", str(painted), "--out", str(tmp_path / "out")]
    with subprocess.Popen([*command, "--weights", str(fifo)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.readline()
        child.send_signal(number)
        said = child.stderr.read().decode()
    assert child.returncode == code
    assert "Traceback" not in said
    assert not (tmp_path / "out" / "SHA256SUMS").exists()
