"""A web server on the loopback that can be told to misbehave in every way that a download meets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """What it serves, and how: `fault` is called with the number of the request and may change all of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = b""
        self.etag: str | None = None
        self.ranges = True
        self.cut: int | None = None
        """After so many bytes of the body of a request the connection is closed."""
        self.claimed: int | None = None
        """What Content-Length says, where it lies."""
        self.pause = 0.0
        """Seconds before each half of the body."""
        self.nap = 0.0
        """Seconds in the middle of the body."""
        self.status = 0
        self.location = ""
        self.fault: Callable[[int], None] = lambda _: None
        self.asked: list[tuple[str | None, str | None]] = []
        """Range and If-Range of each request."""

    def handle_error(self, *_: object) -> None:
        """Whoever asked may go away."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/a.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        server.asked.append((asked, condition))
        server.fault(len(server.asked))
        part = server.ranges and asked is not None and condition in (None, server.etag)
        start = int((asked or "")[6:-1]) if part else 0
        body = server.body[start:]
        self._head(start if part else None, len(body))
        sent = body if server.cut is None else body[: server.cut]
        for nap, piece in ((0.0, sent[: len(sent) // 2]), (server.nap, sent[len(sent) // 2 :])):
            time.sleep(server.pause + nap)
            self.wfile.write(piece)
            self.wfile.flush()

    def _head(self, start: int | None, length: int) -> None:
        server = self.server
        missing = 404 if not server.body else 200 if start is None else 206
        self.send_response(server.status or missing)
        self.send_header("Content-Length", str(length if server.claimed is None else server.claimed))
        if server.location:
            self.send_header("Location", server.location)
        if server.etag:
            self.send_header("ETag", server.etag)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{start + length - 1}/{start + length}")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()
