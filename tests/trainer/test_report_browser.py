"""The page in a real browser, as wide as a desk and as narrow as a telephone."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer import report

from .reported import facts

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-default-apps", "--hide-scrollbars"]
MEASURE = """<!doctype html><title>measure</title><body>%s<script>
addEventListener("load", () => {
  document.body.textContent = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement;
    const broken = [...page.images].filter(image => !image.naturalWidth).length;
    const wide = [...page.querySelectorAll("section, figure, p, li, h1, h2, h3, dl, pre, .tile")]
      .filter(part => !part.closest(".scroll") && part.getBoundingClientRect().right > root.clientWidth + 1).length;
    const paper = frame.contentWindow.getComputedStyle(page.body).backgroundColor;
    return [frame.width, root.scrollWidth, page.querySelectorAll("section").length, page.images.length, broken, wide,
      paper].join("|");
  }).join("\\n");
});
</script></body>"""


class Server(http.server.ThreadingHTTPServer):
    """Files of a folder; remembers what was asked for."""

    asked: list[str]


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)
        super().do_GET()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server, folder
    server.shutdown()
    thread.join()
    server.server_close()


def browse(tmp_path: Path, *arguments: str) -> str:
    """Every name but the loopback's leads nowhere, so that a page that fetches something shows it."""
    assert CHROMIUM is not None
    own = [f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    done = subprocess.run([CHROMIUM, *FLAGS, *own, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_fits_a_telephone_and_a_desk(tmp_path: Path, served: tuple[Server, Path]) -> None:
    server, folder = served
    for classes in (2, 10, 100):
        (folder / f"{classes}.html").write_bytes(report.page(facts(tmp_path, classes), 0))
    frames = [
        f'<iframe src="{classes}.html" width="{width}" height="900"></iframe>'
        for classes in (2, 10, 100)
        for width in (320, 390, 1280)
    ]
    (folder / "measure.html").write_text(MEASURE % "".join(frames))
    shown = browse(tmp_path, "--dump-dom", f"http://127.0.0.1:{server.server_port}/measure.html")
    found = re.findall(r"(\d+)\|(\d+)\|(\d+)\|(\d+)\|(\d+)\|(\d+)\|(rgb\([\d, ]+\))", shown)
    assert len(found) == len(frames), shown[-2000:]
    for width, needed, sections, pictures, broken, wide, paper in found:
        assert int(needed) <= int(width) and wide == "0", (width, needed, wide)
        assert sections == "12" and int(pictures) > 30
        assert paper == "rgb(251, 250, 247)", "the policy must let the page's own style in"
        if width == "1280":
            assert broken == "0"
    pages = {"/measure.html", "/2.html", "/10.html", "/100.html"}
    assert set(server.asked) - {"/favicon.ico"} == pages
