"""Downloads from a server that cuts, sleeps, lies, changes and leads astray."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from orchestrator.data import download, transfer
from orchestrator.data.known import Source
from orchestrator.errors import GpuError
from orchestrator.reporter import Silent
from tests.webserver import Server

BODY = bytes(range(256)) * 800
OTHER = BODY[::-1]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSE_SECONDS", 0)


def source(server: Server, body: bytes = BODY, **more: object) -> Source:
    return Source("x", hashlib.sha256(body).hexdigest(), url=server.url, **more)  # type: ignore[arg-type]


def got(server: Server, cache: Path, body: bytes = BODY, **more: object) -> bytes:
    return download.obtain(source(server, body, **more), cache, Silent())[0].read_bytes()


def left(cache: Path) -> set[str]:
    """What a failed download has left, but for its lock."""
    return {file.name.partition("-")[2] for file in cache.rglob("*") if file.is_file() and file.suffix != ".lock"}


@pytest.mark.parametrize("etag", [None, '"one"', 'W/"weak"'])
def test_a_cut_download_goes_on_where_it_was(server: Server, tmp_path: Path, etag: str | None) -> None:
    server.body, server.etag, server.cut = BODY, etag, 70_000
    assert got(server, tmp_path) == BODY
    condition = etag if etag == '"one"' else None
    assert server.asked == [(None, None), ("bytes=70000-", condition), ("bytes=140000-", condition)]


def test_a_killed_one_too(server: Server, tmp_path: Path) -> None:
    """kill -9, and then once more while the server knows no ranges."""
    server.body, server.etag, server.pause = BODY, '"one"', 0.3
    script = (
        "import sys; from pathlib import Path; from orchestrator.data import transfer; "
        "from orchestrator.reporter import Silent; "
        "transfer.download(sys.argv[1], Path(sys.argv[2]), size=None, reporter=Silent())"
    )
    part = tmp_path / "part"
    child = subprocess.Popen([sys.executable, "-c", script, server.url, str(part)])
    while not (part.exists() and part.stat().st_size):
        assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    had = part.stat().st_size
    server.pause = 0
    transfer.download(server.url, part, size=None, reporter=Silent())
    assert part.read_bytes() == BODY
    assert server.asked[1] == (f"bytes={had}-", '"one"')
    part.write_bytes(BODY[:9])
    server.ranges = False
    transfer.download(server.url, part, size=None, reporter=Silent())
    assert part.read_bytes() == BODY


def test_what_changed_in_between_begins_anew(server: Server, tmp_path: Path) -> None:
    """By its ETag; without one, because the whole has not the hash."""
    server.body, server.cut = BODY, 70_000

    def change(number: int) -> None:
        if number == 2:
            server.body, server.cut = OTHER, None
            server.etag = server.etag and '"two"'

    server.fault = change
    server.etag = '"one"'
    assert got(server, tmp_path / "a", OTHER) == OTHER
    assert server.asked == [(None, None), ("bytes=70000-", '"one"')]
    server.asked.clear()
    server.body, server.etag, server.cut = BODY, None, 70_000
    assert got(server, tmp_path / "b", OTHER) == OTHER
    assert server.asked == [(None, None), ("bytes=70000-", None), (None, None)]


def test_another_file_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.body = OTHER
    with pytest.raises(GpuError, match=r"has not the expected SHA-256.*not kept"):
        got(server, tmp_path)
    assert len(server.asked) == 1 and not left(tmp_path)
    with pytest.raises(GpuError, match="has not the expected MD5 of the first"):
        download.obtain(Source("x", url=server.url, md5_of_mib="0" * 32, size=len(OTHER)), tmp_path, Silent())
    assert not left(tmp_path)


def test_one_of_another_size_is_not_even_downloaded(server: Server, tmp_path: Path) -> None:
    server.body = BODY + b"more"
    with pytest.raises(GpuError, match=f"has {len(BODY) + 4} bytes, and {len(BODY)} are published"):
        got(server, tmp_path, size=len(BODY))


def test_content_length_lies(server: Server, tmp_path: Path) -> None:
    """Too long: the rest is asked for, and never comes. Too short: what it cuts off is not the file."""
    server.body, server.claimed = BODY, len(BODY) + 1000
    server.fault = lambda number: setattr(server, "status", 503 if number > 1 else 0)
    with pytest.raises(GpuError, match=r"cannot be reached \(503.*kept: run it again"):
        got(server, tmp_path)
    assert server.asked[-1] == (f"bytes={len(BODY)}-", None)
    assert len(server.asked) == 1 + transfer.FRUITLESS
    server.fault, server.status = lambda _: None, 0
    server.body, server.claimed = BODY, len(BODY) - 1000
    with pytest.raises(GpuError, match="SHA-256"):
        got(server, tmp_path / "short")
    assert not left(tmp_path / "short")


def test_a_server_that_sleeps_is_asked_again(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SILENCE_SECONDS", 0.2)
    server.body, server.etag = BODY, '"one"'
    server.fault = lambda number: setattr(server, "pause", 0.5 if number == 1 else 0)
    began = time.monotonic()
    with pytest.raises(GpuError, match="cannot be reached"):
        got(server, tmp_path)
    assert time.monotonic() - began < 5
    # A slow one that sends something now and then is waited for.
    monkeypatch.setattr(transfer, "SILENCE_SECONDS", 5)
    server.asked.clear()
    assert got(server, tmp_path) == BODY
    assert len(server.asked) == 1


def test_a_server_that_sleeps_in_the_middle_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "SILENCE_SECONDS", 0.3)
    server.body, server.etag = BODY, '"one"'
    server.nap = 1.0
    server.fault = lambda number: setattr(server, "nap", 1.0 if number == 1 else 0)
    assert got(server, tmp_path) == BODY
    assert server.asked[1] == (f"bytes={len(BODY) // 2}-", '"one"')


@pytest.mark.parametrize("where", ["http://example.org/a", "ftp://127.0.0.1/a", "file:///etc/passwd"])
def test_it_is_not_led_elsewhere(server: Server, tmp_path: Path, where: str) -> None:
    server.body, server.status, server.location = BODY, 302, where
    with pytest.raises(GpuError, match=r"not https|302"):
        got(server, tmp_path)
    assert not left(tmp_path)


def test_it_follows_on_this_computer(server: Server, tmp_path: Path) -> None:
    server.body, server.status, server.location = BODY, 302, f"{server.url}?moved"

    def arrive(number: int) -> None:
        if number == 2:
            server.status, server.location = 0, ""

    server.fault = arrive
    assert got(server, tmp_path) == BODY


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_said_at_once(server: Server, tmp_path: Path, status: int) -> None:
    server.body, server.status = BODY, status
    with pytest.raises(GpuError, match=f"answers {status} .*moved"):
        got(server, tmp_path)
    assert len(server.asked) == 1


def test_nobody_there_is_said_at_once(server: Server, tmp_path: Path) -> None:
    wanted = source(server)
    server.server_close()
    with pytest.raises(GpuError, match=r"cannot be reached.*Check the network"):
        download.obtain(wanted, tmp_path, Silent())


def test_a_full_disk_is_seen_before(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage(transfer.MARGIN_BYTES + 1000))
    server.body = BODY
    with pytest.raises(GpuError, match=r"are to be downloaded, and .* has room for"):
        got(server, tmp_path)


def test_a_damaged_archive_in_the_cache_is_fetched_again(server: Server, tmp_path: Path) -> None:
    server.body = BODY
    file = download.cached(source(server), tmp_path)
    file.parent.mkdir(parents=True)
    file.write_bytes(BODY[:-1] + b"!")
    assert got(server, tmp_path) == BODY


def test_two_at_once_do_not_mix(server: Server, tmp_path: Path) -> None:
    """The second is told; the first is not disturbed."""
    server.body = BODY
    told: list[str] = []

    def second(number: int) -> None:
        if number == 1:
            with pytest.raises(GpuError, match="another gpu is downloading") as caught:
                got(server, tmp_path)
            told.append(str(caught.value))

    server.fault = second
    assert got(server, tmp_path) == BODY
    assert len(told) == 1
