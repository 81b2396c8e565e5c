"""What `--dry-run -v` shows is what happens: run as a shell script by the `aws` tool, nothing is left for gpu to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .conftest import Evening


def run_script(evening: Evening, script: str) -> subprocess.CompletedProcess[str]:
    endpoint = evening.json("sandbox", "status")["endpoint_url"]
    aws = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "thing", "AWS_ENDPOINT_URL": endpoint}
    environment = {**os.environ, **aws, "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"}
    (evening.folder / "user-data.yaml").write_text("#cloud-config\n{}\n")
    return subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=evening.folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


def test_the_commands_shown_make_and_remove_the_machine(evening: Evening) -> None:
    shown = evening.gpu("-k", "t2", "start", "--dry-run", "-v").stdout
    assert evening.json("-k", "t2", "status")["machine"] is None
    made = run_script(evening, shown)
    assert made.returncode == 0, made.stderr
    assert "nothing to do" in evening.gpu("-k", "t2", "start", "--dry-run").stdout
    assert evening.json("-k", "t2", "status")["phase"] == "running"

    removal = evening.gpu("destroy", "--dry-run", "-v").stdout
    removed = run_script(evening, removal)
    assert removed.returncode == 0, removed.stderr
    assert "nothing to do" in evening.gpu("destroy", "--dry-run").stdout


def test_the_plan_has_its_price_and_no_secret(evening: Evening) -> None:
    plan = evening.json("init", "--dry-run")
    assert plan["price_per_hour"] > 0
    assert plan["price_per_month_stopped"] > 0
    assert plan["steps"][-1]["step"] == "wait until it has stopped"
    text = evening.gpu("init", "--dry-run", "-v").stdout
    assert "PRIVATE" not in text
    assert "an hour running" in text
    assert "a month stopped" in text
