"""Fetching on a machine over links that break, by code that finds there nothing but Python and Pillow."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import PIL
import pytest
from PIL import Image

from orchestrator.data.known import Known, Source
from orchestrator.data.layout import Counts
from orchestrator.errors import GpuError
from orchestrator.remote import dispatch, errands
from orchestrator.remote.ssh import connect
from orchestrator.reporter import Silent

from ..webserver import Server, serving
from .conftest import Machine, eventually

WHOLE = Counts(train={"cats": 8, "dogs": 8}, valid={"cats": 2, "dogs": 2}, test=3, quarantined=0)


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def course() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(20):
            half = "train" if number < 16 else "valid"
            archive.writestr(f"d/{half}/{('cats', 'dogs')[number % 2]}/{number}.jpg", picture(number))
        for number in range(3):
            archive.writestr(f"d/test1/{number}.jpg", picture(100 + number))
    return out.getvalue()


def picture(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (12, 12), (shade, 255 - shade, shade)).save(data, "JPEG")
    return data.getvalue()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        found.body, found.etag = course(), '"one"'
        yield found


def known(server: Server) -> Known:
    source = Source("class-folders", hashlib.sha256(server.body).hexdigest(), url=server.url)
    return Known("course", "a title", "a licence", (source,))


def test_it_goes_on_when_the_link_breaks(machine: Machine, server: Server) -> None:
    """The one who asked is back by himself, and hears the rest; nothing is downloaded twice."""
    server.nap = 2.0
    said = Told()
    cutting = threading.Thread(target=lambda: (eventually(lambda: server.asked), machine.cut()))
    cutting.start()
    found = errands.fetch(lambda: connect(machine.address, wait=10), known(server), ("mine", 0), said)
    cutting.join()
    assert found == WHOLE
    assert len(server.asked) == 1
    assert any("connection was lost" in line for line in said.lines)
    assert said.lines.count("licence: a licence") >= 1
    with connect(machine.address) as connection:
        assert errands.counts(connection) == {"mine": WHOLE}
    left = sorted(path.name for path in (machine.home / "gpu/data").iterdir())
    assert left == [".mine.fetch.lock", ".mine.fetch.log", "mine"]


def test_two_who_ask_at_once_get_the_same(machine: Machine, server: Server) -> None:
    server.nap = 1.0
    results: list[Counts] = []

    def ask() -> None:
        results.append(errands.fetch(lambda: connect(machine.address), known(server), ("mine", 0), Silent()))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert results == [WHOLE, WHOLE]
    assert len(server.asked) == 1


def test_what_goes_wrong_there_is_said_here(machine: Machine, server: Server) -> None:
    server.status = 404
    with pytest.raises(GpuError, match=r"on 127\.[\d.]+: http.* answers 404"):
        errands.fetch(lambda: connect(machine.address), known(server), ("mine", 0), Silent())
    (machine.home / "gpu/env").unlink()
    with connect(machine.address) as connection, pytest.raises(GpuError, match="gpu/env/bin/python is not on"):
        errands.counts(connection)


@pytest.mark.parametrize("answer", ["", "[1]", '{"x": {"train": 3}}', '{"x": {"train": {}, "valid": {}}}'])
def test_an_answer_that_is_none(machine: Machine, answer: str) -> None:
    """From a machine that is not what it was."""
    with connect(machine.address) as connection:
        errands.counts(connection)
        [code] = (machine.home / "gpu/code").iterdir()
        (code / "orchestrator/data/errand.py").write_text(f"print({answer!r})")
        with pytest.raises(GpuError, match="answered what cannot be read"):
            errands.counts(connection)


def test_python_and_pillow_are_enough(tmp_path: Path) -> None:
    """The code as it is sent, where nothing else can be imported, not even what it is sent by."""
    with tarfile.open(fileobj=io.BytesIO(dispatch.pack(errands.code_files())[1])) as archive:
        archive.extractall(tmp_path / "code")
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    place = Path(PIL.__file__).parents[1]
    for name in ("PIL", "pillow.libs"):
        if (place / name).exists():
            (libraries / name).symlink_to(place / name)
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]; from orchestrator.data import errand; sys.exit(errand.main(['list']))"
    )
    argv = [sys.executable, "-I", "-S", "-c", script, str(tmp_path / "code"), str(libraries)]
    environment = {"HOME": str(tmp_path)}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, json.loads(done.stdout or "0")) == (0, {}), done.stderr


def test_all_that_it_imports_is_sent() -> None:
    """But for the catalogue, which is read at home: the entry comes with the question."""
    sent = {
        name.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): file
        for name, file in errands.code_files()
    }
    at_home = {("orchestrator.data.catalog", "yaml"), ("orchestrator.data.catalog", "orchestrator.settings")}
    for name, file in sent.items():
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                wanted = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = ".".join(
                    filter(None, [*package.split(".")[: len(package.split(".")) + 1 - node.level], node.module])
                )
                base = base if node.level else str(node.module)
                wanted = {each if (each := f"{base}.{alias.name}") in sent else base for alias in node.names}
            else:
                continue
            for each in wanted:
                known_there = each.partition(".")[0] in {*sys.stdlib_module_names, "PIL"} or each in sent
                assert known_there or (name, each) in at_home, f"{name} imports {each}"
