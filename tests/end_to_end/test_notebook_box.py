"""A notebook on a machine of one's own, over a link that fails, and where it cannot be had."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from ..links.proxy import Proxy, known_as
from ..remote.conftest import answers, eventually
from .test_box import Box, box, machine

__all__ = ["box", "machine"]


@pytest.fixture
def proxy(box: Box, tmp_path: Path) -> Iterator[Proxy]:
    """Between here and the box, for every ssh from now on."""
    address = box.machine.address
    found = Proxy((address.host, address.port))
    known = known_as(address, tmp_path, *found.place)
    config = tmp_path / "dot-ssh/config"
    text = config.read_text().replace(f"HostName {address.host}", f"HostName {known.host}")
    text = text.replace(f"Port {address.port}", f"Port {known.port}")
    config.write_text(text.replace(str(address.known_hosts), str(known.known_hosts)))
    yield found
    found.close()


@contextlib.contextmanager
def opened(box: Box, *words: str) -> Iterator[str]:
    process = box.evening.start("--profile", "box", "notebook", "--no-open", *words)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), process.communicate(timeout=60)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert "come back to it with: gpu notebook" in err, err
        assert process.returncode == 0


def status(url: str) -> int:
    """0 where nothing comes back."""
    try:
        with urllib.request.urlopen(url, timeout=90) as answer:
            return int(answer.status)
    except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError):
        return 0


@pytest.mark.slow
def test_it_goes_on_through_a_black_hole_beside_a_run(box: Box, proxy: Proxy) -> None:
    box.evening.prepare(images=8)
    with opened(box) as url:
        assert status(url) == 200
        proxy.swallow()
        began = time.monotonic()
        eventually(lambda: status(url) == 200, 60)
        assert time.monotonic() - began > 5
        nbs = box.machine.home / "gpu/nbs"
        (nbs / "deep").mkdir()
        (nbs / "deep/own.ipynb").write_text("{}")
        trained = box.evening.json("--profile", "box", "train", "--data", "shapes", "--epochs", "1")
        assert trained["accuracy"] >= 0
        assert "a notebook is running" in box.gpu("status")
        said = box.gpu("stop")
        assert "it is left alone" in said
        assert (box.evening.folder / "nbs/deep/own.ipynb").read_text() == "{}"
        assert status(url) == 200
    assert "the notebook has ended" in box.gpu("notebook", "stop")


def test_where_it_cannot_be_had_it_is_said_why(box: Box) -> None:
    python(box, 'echo "$0: No module named notebook" >&2; exit 1')
    refused = box.refused("notebook", "--no-open")
    assert "Jupyter is not installed in ~/gpu/env on box. Put it there with: gpu doctor --fix" in refused
    python(box, "echo 'It began well' >&2; echo 'ImportError: half an installation' >&2; exit 3")
    refused = box.refused("notebook", "--no-open")
    assert "the notebook does not start on box; its last words:\n  It began well\n  ImportError: half" in refused
    assert "there is no data set nothing" in box.gpu("notebook", "--data", "nothing", code=2)
    assert "there is no notebook on the machine yet" not in box.gpu("notebook", "pull")
    assert "no notebook was running" in box.gpu("notebook", "stop")
    assert "takes none of --data" in box.gpu("notebook", "--data", "x", "stop", code=2)


def test_an_sshd_that_forwards_nothing_is_named(box: Box) -> None:
    config = box.machine.home.parent / "etc/sshd_config"
    with config.open("a") as stream:
        stream.write("AllowStreamLocalForwarding no\n")
    box.machine.sshd.send_signal(signal.SIGHUP)
    eventually(lambda: answers(box.machine.address.host, box.machine.address.port))
    refused = box.refused("notebook", "--no-open")
    assert "sshd on box forwards nothing, so there is no way to the notebook. Allow it there:" in refused
    assert "the notebook has ended" in box.gpu("notebook", "stop")


def python(box: Box, jupyter: str) -> None:
    """An environment whose Jupyter is only this shell line."""
    env = box.machine.home / "gpu/env"
    if env.is_symlink():
        env.unlink()
    (env / "bin").mkdir(parents=True, exist_ok=True)
    program = env / "bin/python"
    program.write_text(f'#!/bin/sh\ncase "$*" in "-m notebook"*) {jupyter} ;; esac\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)


def test_a_port_that_is_taken_is_said_before_anything_is_done(box: Box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        refused = box.refused("notebook", "--port", port)
    assert f"port {port} of this computer cannot be used: Address already in use" in refused
    assert not (box.machine.home / "gpu/notebook").exists()
