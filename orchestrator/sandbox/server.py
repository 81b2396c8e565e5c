"""The region's process: `python -m orchestrator.sandbox.server FOLDER`. While it lives it holds `FOLDER/lock`."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO

from . import callers, catalog, wsgi

TICK = 0.1
"""Seconds between two looks at the instances."""
LOCK_PATIENCE = 5.0
"""Seconds: somebody who only looks whether the region lives holds its lock for an instant."""


def main(folder: Path) -> int:
    lock = _lock(folder)
    if lock is None:
        return 0
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    state = folder / "region.json"
    state.unlink(missing_ok=True)
    catalog.settle(folder)
    _serve(folder, state, ended)
    state.unlink(missing_ok=True)
    return 0


def _serve(folder: Path, state: Path, ended: threading.Event) -> None:
    # Here, not above: moto reads its settings when it is imported.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import ThreadedWSGIServer

    from . import application
    from .instances import Instances

    class Handler(MotoRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing: a client that waits asks several times a second."""

        def date_time_string(self, timestamp: float | None = None) -> str:
            now = time.time() if timestamp is None else timestamp
            told: str = super().date_time_string(now + getattr(self, "environ", {}).get(wsgi.SKEW, 0.0))
            return told

    class Listener(ThreadedWSGIServer):
        def verify_request(self, request: object, client_address: tuple[str, int]) -> bool:
            del request
            return callers.is_ours(client_address[1], self.server_port)

    catalog.stock()
    instances = Instances(folder, delay=float(os.environ.get("GPU_SANDBOX_DELAY") or 0.4))
    region = application.Application(DomainDispatcherApplication(create_backend_app), instances, folder)
    listener = Listener("127.0.0.1", 0, region.panel, Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    instances.endpoint_url = f"http://127.0.0.1:{listener.server_port}"
    _announce(state, instances.endpoint_url)
    try:
        # In the main thread: the kernel counts the machines as children of the thread that started them.
        while not ended.wait(TICK):
            instances.step()
            region.step()
    finally:
        listener.shutdown()
        instances.stop_all()


def _announce(state: Path, endpoint_url: str) -> None:
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    text = json.dumps({"endpoint_url": endpoint_url, "pid": os.getpid(), "started": started})
    new = state.with_suffix(".new")
    new.write_text(text + "\n")
    new.replace(state)


def _lock(folder: Path) -> IO[bytes] | None:
    file = (folder / "lock").open("ab")
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.close()
                return None
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
