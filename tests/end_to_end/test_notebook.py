"""A notebook on the machine, in a real browser here; what it writes comes home, whatever becomes of the machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..remote.conftest import children
from .browser import CHROMIUM, browser
from .conftest import Evening

CELL = "import os\nfrom trainer.run_folder import JOB\nprint(6 * 7, JOB, os.environ['GPU_DATA'])"


@pytest.fixture
def machine(evening: Evening) -> Path:
    """A machine that runs; its home folder."""
    evening.prepare(images=8)
    evening.gpu("start")
    [home] = (Path(os.environ["GPU_HOME"]) / "state/sandbox/instances").glob("*/home")
    return home


@contextlib.contextmanager
def opened(evening: Evening, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`gpu notebook` until the end of the block, and the address that it prints."""
    process = evening.start("notebook", *words)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), process.communicate(timeout=60)
        yield process, url
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        assert process.returncode in (0, 1), err
        assert process.returncode or "come back to it with: gpu notebook" in err


def notebook(cell: str) -> str:
    cells = [{"cell_type": "code", "id": "one", "metadata": {}, "source": cell, "outputs": [], "execution_count": None}]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


def asked(url: str, *, method: str = "GET", data: bytes | None = None) -> tuple[int, bytes]:
    question = urllib.request.Request(url, method=method, data=data)
    try:
        with urllib.request.urlopen(question, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (urllib.error.URLError, ConnectionError) as error:
        return 0, str(error).encode()


def kernels_of(base: str, token: str) -> Any:
    return json.loads(asked(f"{base}/api/kernels?token={token}")[1])


def outputs(file: Path) -> str:
    return "".join(
        "".join(one.get("text", ""))
        for cell in json.loads(file.read_text())["cells"]
        for one in cell.get("outputs", ())
    )


def until(fact: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_cell_is_run_in_a_real_browser_and_comes_home(
    evening: Evening, machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    program = tmp_path / "own-browser"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{seen}.new\nmv {seen}.new {seen}\n')
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(program))
    nbs = machine / "gpu/nbs"
    nbs.mkdir(parents=True)
    (nbs / "hello.ipynb").write_text(notebook(CELL))
    with opened(evening, "--data", "shapes") as (_, url):
        base, token = url.split("/tree?token=")
        until(seen.exists)
        page_file = seen.read_text().strip()
        assert re.fullmatch(r"file:///\S+/notebook\.html", page_file)
        assert Path(page_file[7:]).stat().st_mode & 0o777 == 0o600
        nobody_else_can_know(token, tmp_path)
        with browser(tmp_path / "known") as page:
            page.go(page_file)
            page.wait("location.pathname == '/tree' && document.body.innerText.includes('hello.ipynb')")
            page.go(f"{base}/notebooks/hello.ipynb")
            page.wait("document.querySelector('.jp-Notebook .jp-Cell')")
            until(lambda: [one["connections"] for one in kernels_of(base, token) if one["execution_state"] == "idle"])
            page.wait("document.querySelector('.jp-CodeCell .cm-content')")
            page.value("document.querySelector('.jp-CodeCell .cm-content').focus()")
            page.press("Enter", 13, shift=True)
            page.wait("document.querySelector('.jp-OutputArea-output').innerText.includes('42')")
            page.press("s", 83, control=True)
            until(lambda: outputs(nbs / "hello.ipynb") == "42 job.json shapes\n")
        with browser(tmp_path / "unknown") as page:
            page.go(f"{base}/notebooks/hello.ipynb")
            page.wait("location.pathname == '/login' && document.querySelector('input[type=password]')")
            assert "42" not in page.value("document.body.innerText")
        refused_without_token(base, token)
        only_on_loopback(machine)
        keeps_awake_as_its_kernels_do(evening, base, token)
        said = evening.gpu("status").stdout
        assert "a notebook with shapes is running: 1 kernel" in said
        assert "not home yet: nbs/hello.ipynb (gpu notebook pull)" in said
        assert "hello.ipynb" in evening.gpu("-y", "destroy", code=1).stderr
    evening.gpu("notebook", "pull")
    assert (evening.folder / "nbs/hello.ipynb").read_bytes() == (nbs / "hello.ipynb").read_bytes()
    assert evening.json("notebook", "status")["not_home"] == []
    a_machine_that_stopped_by_itself_may_have_newer_ones(evening)


def a_machine_that_stopped_by_itself_may_have_newer_ones(evening: Evening) -> None:
    evening.start("ssh", "--", "sudo shutdown -h now").communicate(timeout=60)
    until(lambda: evening.json("status")["phase"] == "stopped")
    assert "not home yet: what the notebook wrote last in nbs/" in evening.gpu("status").stdout
    refused = evening.gpu("-y", "destroy", code=1).stderr
    assert "what the notebook on the p2 machine wrote last" in refused
    assert "gpu destroy --abandon" in refused
    evening.gpu("-y", "destroy", "--abandon")
    assert evening.json("status")["notebooks_not_home"] == []


def nobody_else_can_know(token: str, folder: Path) -> None:
    """No command line, no environment and no log has the token."""
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                assert token.encode() not in (process / name).read_bytes(), (process / "cmdline").read_bytes()
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if file.is_file() and token.encode() in file.read_bytes():
                assert file.suffix in (".json", ".html")
                private = file.stat().st_mode & 0o077 == 0 or file.parent.stat().st_mode & 0o077 == 0
                assert private, file


def refused_without_token(base: str, token: str) -> None:
    assert asked(f"{base}/api/contents")[0] == 403
    assert asked(f"{base}/api/contents?token={token[:-1]}0{token[-1]}")[0] == 403
    assert asked(f"{base}/api/contents?token={token}")[0] == 200
    # A page of somebody else's that has the cookie, but not the second one.
    assert asked(f"{base}/api/kernels", method="POST", data=b"{}")[0] == 403


def only_on_loopback(home: Path) -> None:
    """Whatever a process of the machine listens at, this computer alone can reach it."""
    listed = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout.splitlines()
    found = 0
    for line in listed:
        for pid in re.findall(r"pid=(\d+)", line):
            with contextlib.suppress(OSError):
                if os.fsencode(home.parent) in Path(f"/proc/{pid}/environ").read_bytes():
                    found += 1
                    assert line.split()[3].startswith("127."), line
    assert found, "a kernel listens at ports of its own"
    jupyter = next((home / ".local/share/jupyter/runtime").glob("jpserver-*.json"))
    facts = json.loads(jupyter.read_text())
    assert facts["port"] == 0
    assert Path(facts["sock"]).stat().st_mode & 0o777 == 0o600


def keeps_awake_as_its_kernels_do(evening: Evening, base: str, token: str) -> None:
    look = ("ssh", "--", '"$GPU_ROOT/usr/local/bin/gpu-selfstop" look')
    said = evening.gpu(*look).stdout
    assert "busy Jupyter kernel at its socket, used just now" in said
    assert "tmux pane" not in said
    [kernel] = kernels_of(base, token)
    run_in_kernel(f"ws{base[4:]}/api/kernels/{kernel['id']}/channels?token={token}", "import time; time.sleep(300)")
    until(lambda: "busy Jupyter kernel at its socket, busy" in evening.gpu(*look).stdout)


def run_in_kernel(where: str, code: str) -> None:
    import websocket

    wire = websocket.create_connection(where, timeout=60)
    header = {"msg_id": "1", "session": "1", "username": "", "msg_type": "execute_request", "version": "5.3"}
    wire.send(
        json.dumps(
            {"header": header, "parent_header": {}, "metadata": {}, "content": {"code": code}, "channel": "shell"}
        )
    )
    wire.close()


def test_it_survives_the_terminal_and_comes_home_with_the_stop(evening: Evening, machine: Path) -> None:
    nbs = machine / "gpu/nbs"
    (evening.folder / "nbs/last").mkdir(parents=True)
    (evening.folder / "nbs/last/time.ipynb").write_text("on another machine")
    with opened(evening, "--no-open") as (first, url):
        assert (nbs / "last/time.ipynb").read_text() == "on another machine"
        assert evening.json("notebook", "status")["not_home"] == []
        with opened(evening, "--no-open") as (_, other):
            assert other != url
            assert other.partition("?")[2] == url.partition("?")[2]
            assert asked(other)[0] == 200
        assert asked(url)[0] == 200
        (nbs / "mine.ipynb").write_text(notebook("1"))
        for link in children(first.pid):
            os.kill(link, signal.SIGKILL)
        # At the same port, by itself; whoever asks before it is there waits.
        until(lambda: asked(url)[0] == 200)
        assert first.poll() is None
    (nbs / "last/time.ipynb").unlink()
    with opened(evening, "--no-open") as (_, again):
        assert not (nbs / "last/time.ipynb").exists(), "what was thrown away there stays away"
        assert again == url, "the browser's tab goes on at the same address"
    assert evening.gpu("notebook", "stop").stdout == "the notebook has ended\n"
    assert evening.gpu("notebook", "stop").stdout == "no notebook was running\n"
    assert not list((machine / ".local/share/jupyter/runtime").glob("kernel-*.json"))
    left = [file for file in (machine / "gpu/notebook").rglob("*") if url.partition("=")[2].encode() in _bytes(file)]
    assert left == []
    with opened(evening, "--no-open") as (held, fresh):
        assert fresh != url, "another token"
        assert asked(url.replace("/tree", "/api/contents"))[0] == 403
        changed_at_both_ends(evening, nbs)
        stopped = evening.gpu("stop")
        assert held.wait(60) == 1
        assert held.stderr is not None
        assert re.search("gpu: the (notebook on .* has ended|p2 machine is stopp)", held.stderr.read())
    assert "the notebook is ended" in stopped.stderr
    home = evening.folder / "nbs"
    assert (home / "late.ipynb").read_text() == notebook("late")
    assert (home / "mine.ipynb").read_text() == "mine at home"
    [beside] = home.glob("mine.machine-*.ipynb")
    assert beside.read_text() == notebook("on the machine")
    evening.gpu("-y", "destroy")


def changed_at_both_ends(evening: Evening, nbs: Path) -> None:
    evening.gpu("notebook", "pull")
    (evening.folder / "nbs/mine.ipynb").write_text("mine at home")
    (nbs / "mine.ipynb").write_text(notebook("on the machine"))
    (nbs / "late.ipynb").write_text(notebook("late"))


def _bytes(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""
