"""The page of a data set: right, safe, and whole in a real browser."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pictures import encoded, jpeg, unpacked
from PIL import Image

from orchestrator.cli.main import main
from orchestrator.data.sheets import write
from orchestrator.reporter import Silent

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NASTY = 'a"><img src=x onerror=document.title=1>&%23 é.jpg'

MEASURE = """<!doctype html><body><iframe width="320" height="900" src="data/.sheets/p.html"></iframe><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, images = [...page.images];
  const links = [...page.querySelectorAll("figure a")].map(link => link.href);
  const broken = images.filter(image => !image.naturalWidth).length, wide = page.documentElement.scrollWidth;
  document.body.textContent = JSON.stringify({ images: images.length, broken, wide, title: page.title, links });
});</script></body>"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight cats of which one lies on its side, one is broken and one is transparent; dogs; a test."""
    halves = Image.new("RGB", (80, 40), "red")
    halves.paste("blue", (40, 0, 80, 40))
    exif = Image.Exif()
    exif[0x112] = 6
    files = {f"train/cat/{i}.jpg": jpeg(i) for i in range(5)} | {f"valid/dog/{i}.jpg": jpeg(50 + i) for i in range(3)}
    files |= {"train/cat/side.jpg": encoded(halves, exif=exif), "train/cat/broken.jpg": jpeg(7)[:200]}
    files |= {"train/dog/clear.png": encoded(Image.new("RGBA", (30, 30), (255, 0, 0, 0)), "PNG")}
    files |= {"valid/cat/wide.jpg": jpeg(9, (300, 20)), "test/1.jpg": jpeg(90), f"train/dog/{NASTY}": jpeg(91)}
    deep = Image.frombytes("I;16", (20, 20), (b"\xe8\x03" * 10 + b"\x40\x9c" * 10) * 20)
    files |= {"train/dog/deep.png": encoded(deep, "PNG"), "train/.hidden/1.jpg": jpeg(1)}
    unpacked(tmp_path / "data" / "p", files)
    return tmp_path / "data"


def page(root: Path, most: int = 24, seed: int = 0) -> str:
    return write(root, "p", Silent(), most=most, seed=seed).read_text()


def tile(text: str, name: str) -> Image.Image:
    uri = re.search(rf'src="data:image/jpeg;base64,([^"]+)" alt="{re.escape(html.escape(name))}"', text)
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri[1])))


def test_it_shows_every_class_and_part(data: Path) -> None:
    text = page(data)
    assert re.findall(r"<h2>([^<]+)</h2>", text) == ["cat", "dog", "test, whose classes nobody has told"]
    assert re.findall(r"<h3>([^<]+)</h3>", text) == [
        "train/ (7)",
        "valid/ (1)",
        "train/ (3)",
        "valid/ (3)",
        "test/ (1)",
    ]
    assert re.search("does not decode: [A-Za-z]", text) and ".hidden" not in text
    side = tile(text, "side.jpg")
    assert side.height == 2 * side.width
    red, blue = side.getpixel((20, 10)), side.getpixel((20, 70))
    assert isinstance(red, tuple) and red[0] > 200 and isinstance(blue, tuple) and blue[2] > 200
    clear = tile(text, "clear.png").getpixel((5, 5))
    assert isinstance(clear, tuple) and min(clear) > 200
    deep = tile(text, "deep.png").convert("L")
    assert deep.getpixel((2, 10)) < 60 and deep.getpixel((17, 10)) > 200  # type: ignore[operator]
    assert "<img src=x" not in text and html.escape(NASTY) in text


def test_a_seed_chooses_and_the_count_is_kept(data: Path) -> None:
    names = [
        re.findall(r'alt="(\d)\.jpg"', page(data, most=2, seed=seed).partition("<h3>valid")[0]) for seed in (0, 0, 1, 2)
    ]
    assert names[0] == names[1] and len({tuple(one) for one in names}) > 1
    assert "train/ (2 of 7)" in page(data, most=2)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_draws_all_of_it(data: Path, tmp_path: Path) -> None:
    """Every picture is drawn, every link leads to its file, and nothing is wider than a telephone."""
    write(data, "p", Silent(), most=24, seed=0)
    measure = tmp_path / "measure.html"
    measure.write_text(MEASURE)
    argv = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--allow-file-access-from-files",
    ]
    argv += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", measure.as_uri()]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout
    told = re.search(r"<body>(\{.*\})</body>", shown, re.S)
    assert told is not None, shown[-1000:]
    found = json.loads(html.unescape(told[1]))
    assert (found["images"], found["broken"], found["title"]) == (14, 0, "p") and found["wide"] <= 320
    assert len(found["links"]) == 15
    assert all(Path(unquote(urlsplit(link).path)).is_file() for link in found["links"])


def test_the_command_opens_it_or_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data.parent)
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    browser.chmod(0o755)

    def show(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["data", "show", "p", *words])
        assert not ended.value.code
        return capsys.readouterr().out.strip()

    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    assert show() == str(data / ".sheets" / "p.html")
    # A process of its own: Python's webbrowser looks for the browser once.
    done = subprocess.run(
        [*gpu(), "data", "show", "p"], env={**environment(), "BROWSER": str(browser)}, capture_output=True, check=True
    )
    assert opened.read_text() == Path(done.stdout.decode().strip()).as_uri()
    opened.unlink()
    for words in (["--no-open"], ["--json"]):
        subprocess.run(
            [*gpu(), "data", "show", "p", *words], env={**environment(), "BROWSER": str(browser)}, check=True
        )
    assert not opened.exists()


def gpu() -> list[str]:
    return [sys.executable, "-m", "orchestrator"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
