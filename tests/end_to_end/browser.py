"""A headless Chromium, told what to do over its DevTools protocol."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-default-apps", "--window-size=1200,900"]
SECONDS = 120.0


class Page:
    """One tab."""

    def __init__(self, where: str) -> None:
        # Chromium refuses whoever says that it is a page of some other origin.
        self._wire = websocket.create_connection(where, timeout=SECONDS, suppress_origin=True)
        self._numbers = itertools.count(1)
        self.ask("Page.enable")

    def close(self) -> None:
        self._wire.close()

    def ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._wire.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._wire.recv())
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]

    def go(self, url: str) -> None:
        self.ask("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """What it is in the page's JavaScript."""
        said = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return said["result"].get("value")

    def wait(self, expression: str, seconds: float = SECONDS) -> None:
        """Until it is true in the page, which may be on its way to another one."""
        until = time.monotonic() + seconds
        while not self.value(f"(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()"):
            assert time.monotonic() < until, f"{expression}: {self.value('document.body.innerText')}"
            time.sleep(0.2)

    def press(self, key: str, code: int, *, shift: bool = False, control: bool = False) -> None:
        modifiers = 8 * shift + 2 * control
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            name = key if len(key) > 1 else f"Key{key.upper()}"
            event = {"type": kind, "key": key, "code": name, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            self.ask("Input.dispatchKeyEvent", **event, **(text if kind == "keyDown" else {}))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """With a profile of its own: it knows no cookie."""
    assert CHROMIUM is not None
    own = [f"--user-data-dir={folder}", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    words = [CHROMIUM, *FLAGS, *own, "--remote-debugging-port=0", "about:blank"]
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        page = Page(_place(folder / "DevToolsActivePort"))
        try:
            yield page
        finally:
            page.close()
    finally:
        process.terminate()
        process.wait(30)


def _place(file: Path) -> str:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if file.exists() and "\n" in file.read_text():
            port = int(file.read_text().split()[0])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS) as answer:
                for one in json.load(answer):
                    if one["type"] == "page":
                        return str(one["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("Chromium does not start")
