"""Fetching from a server on the loopback that cuts, lies or has nothing, and through a small npm package."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.data.catalog import Known, Source
from orchestrator.data.fetch import fetch
from orchestrator.errors import GpuError
from orchestrator.reporter import Silent

COUNT = 80
ROWS = [(3 if i % 2 else 5, bytes((i + j) % 256 for j in range(3072))) for i in range(COUNT)]


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def binary() -> bytes:
    batch = b"".join(bytes([n]) + bytes(row[c::3][k] for c in range(3) for k in range(1024)) for n, row in ROWS)
    return packed({f"x/{name}.bin": batch for name in ("data_batch_1", "test_batch")})


def png() -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", (1024, COUNT), b"".join(row for _, row in ROWS)).save(out, "PNG")
    labels = json.dumps([n for n, _ in ROWS]).encode()
    names = [("data_batch_1", "train_lables"), ("test_batch", "test_lables")]
    return packed(
        {f"package/{a}.png": out.getvalue() for a, _ in names} | {f"package/{b}.json": labels for _, b in names}
    )


class Server(ThreadingHTTPServer):
    body = b""
    cut = 0
    ranges: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked[6:-1]) if asked else 0
        body = self.server.body[start:]
        self.send_response(404 if not self.server.body else 206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut] if self.server.cut and not asked else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server(("127.0.0.1", 0), Handler) as found:
        found.ranges = []
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def known(*sources: Source) -> Known:
    return Known("tiny", "t", "none", sources, {"cat": 3, "dog": 5}, train=20, valid=8, test=6)


def over_http(server: Server, body: bytes) -> Source:
    url = f"http://127.0.0.1:{server.server_port}/a.tar.gz"
    return Source("cifar-binary", hashlib.sha256(body).hexdigest(), url=url)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_cut_download_is_resumed_and_both_sources_agree(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body, server.cut = binary(), 500
    wanted = known(over_http(server, server.body))
    counts = fetch("tiny", root=tmp_path / "a", cache=tmp_path / "c", reporter=Silent(), known=wanted)
    assert counts.train == {"cat": 20, "dog": 20} and counts.test == 12 and server.ranges == [None, "bytes=500-"]

    (tmp_path / "p.tgz").write_bytes(png())
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\nfor last; do :; done\ncp '{tmp_path}/p.tgz' \"$last/x-1.tgz\"\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=":")
    packet = Source("cifar-png", hashlib.sha256((tmp_path / "p.tgz").read_bytes()).hexdigest(), npm="x@1")
    fetch("tiny", root=tmp_path / "b", cache=tmp_path / "c", reporter=Silent(), known=known(packet))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


@pytest.mark.parametrize(("body", "why"), [(b"", "404"), (b"wrong", "SHA-256")])
def test_what_is_not_the_archive_is_not_kept(server: Server, tmp_path: Path, body: bytes, why: str) -> None:
    server.body = body
    with pytest.raises(GpuError, match=why):
        wanted = known(over_http(server, b"right"))
        fetch("tiny", root=tmp_path / "a", cache=tmp_path / "c", reporter=Silent(), known=wanted)
    assert not tree(tmp_path / "c")
