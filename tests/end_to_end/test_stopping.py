"""`gpu train --stop`: the machine is stopped, or it is said why not."""

from __future__ import annotations

import os
import time

from orchestrator.remote.exclusion import held

from .conftest import Evening, interrupt
from .test_evening import read_until, started_run

SHORT = ("train", "--data", "shapes", "--sample", "--epochs", "1", "--stop")
FAILING = (*SHORT, "--", "--nonsense")
LONG = ("--data", "shapes", "--epochs", "1000000")


def test_a_machine_that_was_to_be_stopped_and_is_not_is_said(evening: Evening) -> None:
    """A result that cannot come home; Ctrl-C while it comes; another run that waits; Ctrl-C while one goes on."""
    evening.prepare()
    evening.gpu("start")
    client = evening.start("train", "--data", "elsewhere", "--stop")
    said = client.communicate(timeout=60)[1]
    assert client.returncode == 2 and "the machine is NOT stopped, since no run has begun" in said
    client = evening.start(*FAILING)
    first = started_run(client)
    (evening.folder / "runs" / first / "exit_code").mkdir()
    said = client.communicate(timeout=120)[1]
    assert client.returncode == 1 and "Move it away" in said
    assert f"the machine is NOT stopped, since {first} is not home" in said
    assert f"`gpu pull {first}`, then `gpu stop`" in said

    client = evening.start(*FAILING)
    second = started_run(client)
    with held(os.fsencode(evening.folder / "runs" / second)):
        while next(job for job in evening.json("jobs") if job["run"] == second)["state"] != "failed":
            time.sleep(0.1)
        time.sleep(1)
        interrupt(client)
        said = client.communicate(timeout=60)[1]
    assert client.returncode == 130
    assert f"NOT stopped, since {second} is not home" in said and f"gpu pull {second}" in said
    assert "goes on without you" not in said

    client = evening.start(*SHORT)
    started_run(client)
    third = evening.json("train", *LONG, "--queue", "--detach")["run"]
    said = client.communicate(timeout=120)[1]
    assert client.returncode == 0, said
    assert f"the machine is NOT stopped, since {third} " in said
    assert next(job for job in evening.json("jobs") if job["run"] == third)["state"] == "running"

    evening.gpu("cancel", third)
    client = evening.start("train", "--resume", third, "--stop")
    read_until(client, f"run {third} goes on")
    interrupt(client)
    said = client.communicate(timeout=60)[1]
    assert f"NOT stopped, since {third} is not home" in said and f"{third} goes on without you" in said

    follower = evening.start("logs", "-f", third)
    assert follower.stdout is not None and follower.stdout.readline()
    evening.gpu("stop")
    said = follower.communicate(timeout=60)[1]
    assert follower.returncode == 1
    assert f"{third} with it" in said and f"gpu train --resume {third}" in said and f"gpu pull {third}" in said
