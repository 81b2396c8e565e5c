"""The first evening from end to end: the machine, a run, its results at home."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from .conftest import PHOTOGRAPHS, Evening, interrupt, processes_of


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """The first line of stderr that begins with `words`."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(words):
            return line.strip()
    raise AssertionError(f"{words!r} was never said")


def started_run(process: subprocess.Popen[str]) -> str:
    return read_until(process, "run ").removeprefix("run ")


def test_the_machine_keeps_its_address_and_its_disk(evening: Evening) -> None:
    evening.gpu("start")
    first = evening.gpu("ip").stdout
    assert first.startswith("127.")
    assert evening.gpu("ssh", "--", "uname", "-s").stdout == "Linux\n"
    evening.gpu("ssh", "--", "echo kept > ~/note")
    machine = evening.gpu("get-p2").stdout
    assert "is stopped" in evening.gpu("stop").stdout
    assert "gpu start" in evening.gpu("ssh", "--", "true", code=1).stderr
    assert evening.gpu("ip").stdout == first
    evening.gpu("start")
    assert evening.gpu("ip").stdout == first
    assert evening.gpu("get", "p2").stdout == machine
    assert evening.gpu("ssh", "--", "cat", "note").stdout == "kept\n"
    evening.gpu("start")


def test_ssh_is_exact(evening: Evening) -> None:
    """Exit codes, words and shell lines arrive as they were given; status tells any SSH client where to go."""
    evening.gpu("start")
    evening.gpu("ssh", "--", "exit 7", code=7)
    assert evening.gpu("ssh", "--", "printf", "%s|", "a b", "$(touch x)", "'").stdout == "a b|$(touch x)|'|"
    where = evening.json("status")["ssh"]
    assert oct(Path(where["key_file"]).stat().st_mode & 0o777) == "0o600"
    argv = [
        "ssh",
        "-F",
        "/dev/null",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "IdentitiesOnly=yes",
    ]
    argv += ["-o", f"UserKnownHostsFile={where['known_hosts']}", "-i", where["key_file"], "-p", str(where["port"])]
    done = subprocess.run(
        [*argv, f"{where['user']}@{where['host']}", "ls"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "gpu\n"), done.stderr


def test_a_run_comes_home_whole(evening: Evening) -> None:
    evening.prepare()
    trained = evening.json("train", "--data", "shapes", "-m", "first try")
    folder = evening.folder / "runs" / trained["run"]
    assert trained["accuracy"] >= 0.9
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split(maxsplit=1)
        assert hashlib.sha256((folder / name.lstrip("*")).read_bytes()).hexdigest() == digest
    listed = rows(Path(trained["submission"]))
    assert [row["id"] for row in listed] == [str(n) for n in range(1, 13)]
    assert all(0 < float(row["label"]) < 1 for row in listed)
    assert json.loads((folder / "job.json").read_text())["note"] == "first try"
    assert json.loads((folder / "model.json").read_text())["classes"] == ["cat", "dog"]
    for name in ("model.safetensors", "metrics.jsonl", "report.html", "log.txt", "verified.json"):
        assert (folder / name).stat().st_size
    assert evening.json("jobs")[0]["state"] == "finished"
    assert evening.json("status")["not_home"] == []
    assert evening.gpu("pull").stdout == "everything is home\n"
    evening.gpu("destroy")
    assert evening.json("status")["phase"] == "absent"
    assert evening.json("destroy") == {"removed": False}


def test_killing_the_client_changes_nothing(evening: Evening) -> None:
    """`kill -9` in mid-run; `gpu logs -f` and `gpu pull` finish the job."""
    evening.prepare()
    evening.gpu("start")
    client = evening.start("train", "--data", "shapes")
    run_id = started_run(client)
    os.killpg(client.pid, signal.SIGKILL)
    client.communicate()
    assert run_id in evening.gpu("destroy", code=1).stderr
    assert "finished" in evening.gpu("logs", "-f").stderr
    assert evening.gpu("pull").stdout.strip() == str(evening.folder / "runs" / run_id)
    assert (evening.folder / "runs" / run_id / "verified.json").exists()
    evening.gpu("destroy")


def test_ctrl_c_detaches_and_says_how_to_come_back(evening: Evening) -> None:
    evening.prepare()
    evening.gpu("start")
    client = evening.start("train", "--data", "shapes")
    run_id = started_run(client)
    interrupt(client)
    _, err = client.communicate(timeout=60)
    assert client.returncode == 130, err
    assert f"gpu logs -f {run_id}" in err
    assert f"gpu pull {run_id}" in err
    assert "Traceback" not in err
    assert "is training already" in evening.gpu("train", "--data", "shapes", code=1).stderr
    evening.gpu("cancel", run_id)
    assert evening.json("jobs")[0]["state"] == "failed"


def test_a_failed_run_shows_its_last_lines(evening: Evening) -> None:
    evening.prepare()
    said = evening.gpu("train", "--data", "shapes", "--stop", "--", "--weights", "nowhere.pth", code=3).stderr
    assert "nowhere.pth" in said
    assert "gpu logs" in said
    assert evening.json("status")["phase"] == "stopped"
    assert evening.json("status")["not_home"] == []


def test_a_crashed_sandbox_is_said(evening: Evening) -> None:
    evening.gpu("start")
    os.kill(evening.json("sandbox", "status")["pid"], signal.SIGKILL)
    assert "crashed" in evening.gpu("sandbox", "status", code=1).stderr
    assert "ended without warning" in evening.gpu("ip", code=1).stderr


def test_a_bad_wish_changes_nothing(evening: Evening) -> None:
    """Found before the sandbox, let alone a machine, is started."""
    evening.prepare()
    assert "gpu data fetch dogscats-tiny" in evening.gpu("train", "--data", "dogscats-tiny", code=2).stderr
    assert "shapes" in evening.gpu("train", "--data", "shape", code=2).stderr
    assert "resnet34" in evening.gpu("train", "--data", "shapes", "--model", "resnet43", code=2).stderr
    assert "--epochs" in evening.gpu("train", "--data", "shapes", "--epochs", "0", code=2).stderr
    (evening.folder / "data" / "shapes" / "train" / "empty").mkdir()
    assert "empty" in evening.gpu("train", "--data", "shapes", code=1).stderr
    assert "not up" in evening.gpu("sandbox", "status", code=1).stderr
    assert processes_of(evening.folder) == []


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason="the photographs are not part of the project")
def test_the_photographs(evening: Evening) -> None:
    """Kaggle's own cats and dogs: every image accounted for, and the lecture's 97 % beaten on the validation images."""
    made = evening.json("data", "prepare", "dogscats", str(PHOTOGRAPHS / "train.zip"), str(PHOTOGRAPHS / "test.zip"))
    assert {c: made["train"][c] + made["valid"][c] for c in ("cat", "dog")} == {"cat": 400, "dog": 400}
    assert made["test"] == 400
    trained = evening.json("train", "--data", "dogscats")
    assert trained["accuracy"] >= 0.97
    assert trained["log_loss"] < 0.06
    assert [row["id"] for row in rows(Path(trained["submission"]))] == [str(n) for n in range(1, 401)]
