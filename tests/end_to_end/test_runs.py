"""Runs that are interrupted, limited or queued, through `gpu` itself."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import Evening
from .test_evening import read_until, started_run

EPOCHS = "2500"
"""So many that the notice, which is asked for every five seconds, comes before their end on an idle computer."""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_spot_machine_that_is_taken_goes_on_where_it_was(evening: Evening, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice, checkpoint, stop; EC2 starts it again, and `gpu train` goes on by itself, to the same weights."""
    monkeypatch.setenv("GPU_SANDBOX_DELAY", "0.1")
    evening.prepare()
    evening.gpu("start", "--spot", "-k", "t2")
    wish = ("--json", "train", "--data", "shapes", "--epochs", EPOCHS)
    client = evening.start(*wish)
    run_id = started_run(client)
    read_until(client, "Epoch 20/")
    evening.gpu("sandbox", "fault", "spot-notice", "--seconds", "12")
    out, err = client.communicate(timeout=600)
    assert client.returncode == 0, err
    assert "EC2 takes this spot machine back" in err
    assert "going on from the checkpoint" in err
    assert f"Epoch {EPOCHS}/{EPOCHS}" in err
    folder = evening.folder / "runs" / run_id
    assert json.loads(out)["accuracy"] >= 0.9
    assert json.loads((folder / "job.json").read_text())["attempt"] == 2
    assert not (folder / "interrupted.json").exists()
    [entry] = evening.json("runs")
    assert (entry["run"], entry["state"]) == (run_id, "finished")
    assert entry["dollars"] > 0
    whole, err = evening.start(*wish).communicate(timeout=600)
    assert "checkpoint" not in err
    other = folder.with_name(json.loads(whole)["run"])
    for name in ("model.safetensors", "submission.csv"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_a_budget_ends_a_run_with_its_checkpoint_and_stops_the_machine(evening: Evening) -> None:
    evening.prepare()
    evening.gpu("start")
    wish = ("--data", "shapes", "--epochs", "50000")
    assert "pays for nothing" in evening.gpu("train", *wish, "--budget", "0", code=2).stderr
    said = evening.gpu("train", *wish, "--budget", "0.002", code=3).stderr
    assert "the budget of $0.002 is spent" in said
    [job] = (evening.folder / "runs").iterdir()
    assert f"gpu train --resume {job.name}" in said
    assert evening.json("status")["phase"] == "stopped"
    assert evening.json("runs")[0]["state"] == "interrupted"


@pytest.mark.slow
def test_a_reboot_loses_a_run_and_resume_finishes_it(evening: Evening) -> None:
    """Also: the second in the line has its turn."""
    evening.prepare()
    evening.gpu("start")
    first = evening.json("train", "--data", "shapes", "--epochs", "50000", "--detach")["run"]
    assert "--queue" in evening.gpu("train", "--data", "shapes", code=1).stderr
    second = evening.json("train", "--data", "shapes", "--queue", "--detach")["run"]
    assert {job["run"]: job["state"] for job in evening.json("jobs")} == {first: "running", second: "waiting"}
    evening.gpu("cancel", first)
    assert "finished" in evening.gpu("logs", "-f", second).stderr
    third = evening.json("train", "--data", "shapes", "--epochs", "400", "--detach")["run"]
    wrapper = f"import json; print(json.load(open('gpu/runs/{third}/lock'))['wrapper'])"
    evening.gpu("ssh", "--", f'kill -9 $(python3 -c "{wrapper}"); sudo reboot')
    evening.gpu("ssh", "--", "true")
    found = next(job for job in evening.json("jobs") if job["run"] == third)
    assert (found["state"], found["why"]) == ("lost", "the machine went down")
    assert evening.json("train", "--resume", third)["run"] == third
    assert Path(evening.folder / "runs" / third / "verified.json").exists()


@pytest.mark.slow
def test_a_terminal_is_offered_what_is_not_home(evening: Evening) -> None:
    """Asked once, and never a script."""
    evening.prepare()
    evening.gpu("start")
    run_id = evening.json("train", "--data", "shapes", "--sample", "--detach")["run"]
    while evening.json("jobs")[0]["state"] != "finished":
        time.sleep(0.5)
    assert "home" not in evening.gpu("jobs").stderr
    assert "bring it home now? [y/N]" in typed(evening, "n\n", "jobs")
    assert evening.json("status")["not_home"] == [run_id]
    said = typed(evening, "y\n", "status")
    assert said.count("bring it home now?") == 1
    assert "not home yet" not in said
    assert (evening.folder / "runs" / run_id / "verified.json").exists()
    assert "home now" not in typed(evening, "", "jobs")


def typed(evening: Evening, answer: str, *words: str) -> str:
    """What `gpu` shows on a terminal on which somebody types the answer."""
    ours, its = pty.openpty()
    argv = [sys.executable, "-m", "orchestrator", *words]
    process = subprocess.Popen(argv, cwd=evening.folder, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    os.write(ours, answer.encode())
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:
        pass  # Linux tells so that nobody has the other end any more.
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode(errors="replace")
