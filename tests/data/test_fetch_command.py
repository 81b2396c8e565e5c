"""`gpu data fetch` and `ls` as a person runs them, at home."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.webserver import Server

GPU = [sys.executable, "-m", "orchestrator"]


@pytest.fixture
def course(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """`mine` in the person's own catalogue, with class folders as the course has them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(24):
            data = io.BytesIO()
            Image.effect_noise((64, 64), 10 + number).convert("RGB").save(data, "JPEG")
            archive.writestr(
                f"d/{('train', 'valid')[number % 2]}/{('cat', 'dog')[number // 12]}/{number}.jpg", data.getvalue()
            )
    server.body, server.etag = out.getvalue(), '"one"'
    home = Path(os.environ["GPU_HOME"])
    home.mkdir()
    entry = {"title": "the course's", "licence": "theirs", "sources": [{"url": server.url, "layout": "class-folders"}]}
    (home / "datasets.yaml").write_text(json.dumps({"mine": entry}))
    monkeypatch.chdir(tmp_path)
    return server


def gpu(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*GPU, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_ctrl_c_and_once_more(course: Server, tmp_path: Path) -> None:
    course.nap = 30
    client = subprocess.Popen(
        [*GPU, "data", "fetch", "mine"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    cache = Path(os.environ["GPU_HOME"]) / "cache" / "datasets"
    until = time.monotonic() + 60
    while not any(part.stat().st_size for part in cache.glob("*.part")):
        assert client.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    os.killpg(client.pid, signal.SIGINT)
    said = client.communicate(timeout=60)[1]
    assert client.returncode == 130 and said.endswith("gpu: interrupted\n") and "Traceback" not in said
    assert not (tmp_path / "data" / "mine").exists()
    course.nap = 0
    done = gpu("data", "fetch", "mine", "--as", "ours", "--json")
    assert json.loads(done.stdout)["train"] == {"cat": 6, "dog": 6}
    assert done.stderr.splitlines()[:2] == ["the course's", "licence: theirs"]
    assert course.asked[1] == (f"bytes={len(course.body) // 2}-", '"one"')
    assert json.loads(gpu("data", "ls", "--json").stdout)["ours"]["where"] == "home"
    assert "ours (at home): train + valid: cat 6 + 6" in gpu("data", "ls").stdout


@pytest.mark.usefixtures("course")
def test_what_there_is_and_what_there_is_not() -> None:
    known = gpu("data", "fetch").stdout
    assert "mine" in known and "licence: theirs" in known and "kaggle:NAME" in known
    assert "Did you mean mine" in gpu("data", "fetch", "mines", code=2).stderr
    assert "cannot be the name" in gpu("data", "fetch", "mine", "--as", "../x", code=2).stderr
    assert "Did you mean" in gpu("data", "push", "dogscat", code=2).stderr
    assert "nor was it seen on the machine" in gpu("train", "--data", "mine", code=2).stderr
