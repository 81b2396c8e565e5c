"""A data set that never crosses the person's own line: fetched on the machine, trained on there, listed; and a push."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from .. import kagglestandin
from ..webserver import serving
from .conftest import Evening
from .test_evening import read_until


def pets() -> bytes:
    """As Oxford publishes them: `images/Bengal_1.jpg`, `images/pug_1.jpg`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for number in range(60):
            picture, data = Image.effect_noise((64, 64), 20 + 60 * (number % 2)).convert("RGB"), io.BytesIO()
            picture.point(lambda v, dog=number % 2: min(255, v // 2 + 120 * dog)).save(data, "JPEG")
            member = tarfile.TarInfo(f"images/{('Bengal', 'pug')[number % 2]}_{number}.jpg")
            member.size = len(data.getvalue())
            archive.addfile(member, io.BytesIO(data.getvalue()))
    return out.getvalue()


def test_what_is_on_the_machine_alone(evening: Evening, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    body = pets()
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        server.body, server.etag, server.pause = body, '"one"', 1.0
        know(server.url, hashlib.sha256(body).hexdigest())
        # Nothing is known of it, and nothing is started for a name that may be a slip.
        refused = evening.gpu("train", "--data", "animals", code=2).stderr
        assert "nor was it seen on the machine" in refused and "gpu data fetch animals" in refused
        assert not (tmp_path / "gpu-home" / "state" / "sandbox").exists()

        client = evening.start("data", "fetch", "animals", "--on-machine")
        read_until(client, "licence: theirs")
        os.killpg(client.pid, signal.SIGKILL)
        client.communicate()
        document = evening.json("data", "fetch", "animals", "--on-machine")
        assert document == {
            "name": "animals",
            "where": "machine",
            "train": {"cat": 24, "dog": 24},
            "valid": {"cat": 6, "dog": 6},
            "test": 0,
            "quarantined": 0,
        }
        assert [asked for asked, _ in server.asked] == [None], "it went on without the one who had asked"
    assert not (evening.folder / "data").exists()
    there = evening.gpu("ssh", "--", "ls -A gpu/data gpu/cache/datasets").stdout
    assert "animals" in there and "a.tar.gz\n" not in there.replace(".a.tar.gz", "")
    assert evening.json("data", "ls")["animals"]["where"] == "machine"

    trained = evening.json("train", "--data", "animals", "--sample")
    assert trained["accuracy"] >= 0.5
    assert "nor is it on the machine" in evening.gpu("train", "--data", "animal", code=2).stderr

    evening.prepare()
    assert "files sent" in evening.gpu("data", "push", "shapes").stdout
    assert "is there" in evening.gpu("data", "push", "shapes").stdout
    found = evening.json("data", "ls")
    assert {name: each["where"] for name, each in found.items()} == {"animals": "machine", "shapes": "both"}
    assert "animals (on the machine): train + valid: cat 24 + 6, dog 24 + 6; test 0" in evening.gpu("data", "ls").stdout

    hand_in(evening, trained["run"], evening.json("train", "--data", "shapes")["run"], monkeypatch)

    # Stopped, it is believed to have what was seen on it, and it is asked once more when it has started.
    evening.gpu("ssh", "--", "rm -r gpu/data/animals")
    evening.gpu("stop")
    only = evening.gpu("data", "ls")
    assert "animals" not in only.stdout and "not known to run" in only.stderr
    assert "nor was it seen" in evening.gpu("train", "--data", "animal", code=2).stderr
    assert "any more" in evening.gpu("train", "--data", "animals", code=2).stderr
    assert "nor is it on the machine" in evening.gpu("train", "--data", "animals", code=2).stderr


def hand_in(evening: Evening, sampled: str, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine made, through Kaggle's real client; a submission of the sample is refused."""
    pytest.importorskip("kaggle", reason="the client is an extra")
    words = ("--competition", "cats-and-dogs", "-y")
    with kagglestandin.serving() as kaggle, monkeypatch.context() as patch:
        kaggle.environment(patch)
        patch.setenv("KAGGLE_API_TOKEN", kagglestandin.TOKEN)
        kaggle.files = {"sample_submission.csv": ("id,label\n" + "".join(f"{n},0.5\n" for n in range(1, 13))).encode()}
        kaggle.board = [0.01, 0.2, 0.3, 0.4]
        assert "on the sample alone" in evening.gpu("submit", sampled, *words, code=1).stderr
        handed = evening.json("submit", run, *words, "-m", "first try")
        assert kaggle.uploads == [(evening.folder / "runs" / run / "submission.csv").read_bytes()]
    assert (handed["score"], handed["place"], handed["teams"]) == (0.05122, 2, 4)
    assert handed["reading"] == "in the top half: good for a first try"
    result = json.loads((evening.folder / "runs" / run / "result.json").read_text())
    assert handed["expected"]["value"] == result["log_loss"]
    scores = {entry["run"]: entry["public_score"] for entry in evening.json("runs")}
    assert scores == {sampled: None, run: 0.05122}


def know(url: str, sha256: str) -> None:
    """`animals` in the person's own catalogue."""
    entry = {"title": "pets", "licence": "theirs", "sources": [{"url": url, "sha256": sha256, "layout": "pets-kinds"}]}
    file = Path(os.environ["GPU_HOME"]) / "datasets.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"animals": entry}))
