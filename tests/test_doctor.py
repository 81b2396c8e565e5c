"""`gpu doctor`: what it makes of a machine, and the real sandbox from end to end."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.examination import finding_line
from orchestrator.cli.main import main
from orchestrator.providers.aws import policy
from orchestrator.providers.base import Finding, Wish
from orchestrator.reporter import Silent
from orchestrator.sandbox import region
from orchestrator.settings import Home, Profile
from orchestrator.verbs import doctor, machine, torchcheck, vitals
from orchestrator.verbs.desk import Desk

SMI = {"driver": "535.183.01", "name": "Tesla K80", "capability": "sm_37"}
NEWEST = {"version": "2.14.1", "built_for": "13.0", "architectures": ["sm_75", "sm_90", "compute_120"], "cuda": True}


def facts(**more: Any) -> dict[str, Any]:
    torch = {**NEWEST, "capability": None, **more.pop("torch", {})}
    return {"python": "Python 3.11.7", "gpus": 1, "smi": SMI, "torch": torch, **more}


def verdict(**more: Any) -> Finding:
    return list(torchcheck.findings(facts(**more)))[-1]


def test_a_torch_without_kernels_for_the_gpu_trains_silently_on_the_cpu() -> None:
    found = verdict(torch={"cuda": False})
    assert found.good is False
    assert "none for the GPU's sm_37" in found.what
    assert "silently train on the CPU" in found.what
    assert "provision.sh" in found.remedy


@pytest.mark.parametrize(
    ("torch", "smi", "words"),
    [
        ({"cuda": False, "architectures": ["sm_37"]}, SMI, "does not accept the driver"),
        ({"cuda": False, "built_for": None}, SMI, "built without CUDA"),
        ({"cuda": False}, None, "no driver that answers"),
        ({"capability": "sm_37"}, {**SMI, "capability": None}, "none for the GPU's sm_37"),
    ],
)
def test_each_wrong_pair_is_said(torch: dict[str, Any], smi: Any, words: str) -> None:
    found = verdict(torch=torch, smi=smi)
    assert found.good is False
    assert words in found.what
    assert torchcheck.SILENT in found.what


def test_a_right_pair_and_a_machine_without_a_gpu() -> None:
    right = verdict(torch={"capability": "sm_75"}, smi={**SMI, "name": "Tesla T4", "capability": "sm_75"})
    assert (right.good, "on Tesla T4" in right.what) == (True, True)
    none = verdict(gpus=0, smi=None, torch={"cuda": False})
    assert (none.good, none.what) == (True, "torch 2.14.1; no GPU: trains on the CPU")


def test_a_python_that_is_not_there_and_a_torch_that_does_not_load() -> None:
    assert verdict(python=None).good is False
    broken = list(torchcheck.findings({**facts(), "torch": {"error": "ImportError: libcudart.so.13"}}))[-1]
    assert (broken.good, "libcudart" in broken.what) == (False, True)


@pytest.mark.parametrize(
    ("capability", "architectures", "fits"),
    [
        ("sm_37", ["sm_37", "sm_50"], True),
        ("sm_37", ["sm_50", "sm_60"], False),
        ("sm_86", ["sm_80"], True),
        ("sm_80", ["sm_86"], False),
        ("sm_90", ["sm_80"], False),
        ("sm_90", ["compute_80"], True),
        ("sm_120", ["sm_12"], False),
        ("sm_100", ["sm_100a"], False),
        ("sm_37", [], False),
    ],
)
def test_which_kernels_run_where(capability: str, architectures: list[str], fits: bool) -> None:
    assert torchcheck.fits(capability, architectures) == fits


def test_gpus_are_counted_on_the_bus(tmp_path: Path) -> None:
    for name, vendor, sort in (
        ("0000:00:1e.0", "0x10de", "0x030200"),
        ("0000:00:1f.0", "0x10de", "0x040300"),
        ("0000:00:02.0", "0x8086", "0x030000"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(sort + "\n")
    (tmp_path / "empty").mkdir()
    assert vitals.gpus(tmp_path) == 1
    assert vitals.gpus(tmp_path / "none") == 0


def program(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def take(tmp_path: Path) -> dict[str, Any]:
    """What the program says in a home of its own, as it is sent: through standard input."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=Path(vitals.__file__).read_bytes(),
        env={"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
        capture_output=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_vital_signs_of_a_bare_machine(tmp_path: Path) -> None:
    found = take(tmp_path)
    assert (found["python"], found["torch"]) == (None, None)
    assert 0 < found["free"] <= found["total"]
    assert str(found["tmux"]).startswith("tmux")


def test_the_vital_signs_of_one_with_a_gpu(tmp_path: Path) -> None:
    # The oldest drivers refuse the whole question when they do not know one word of it.
    program(
        tmp_path / "bin/nvidia-smi",
        'case $1 in *compute_cap*) exit 2 ;; *) echo "470.82, Tesla K80"; echo x, y ;; esac',
    )
    program(
        tmp_path / "gpu/env/bin/python", 'case $1 in -c) echo "ImportError: broken" >&2; exit 1 ;; esac; echo Python 3'
    )
    found = take(tmp_path)
    assert found["smi"] == {"driver": "470.82", "name": "Tesla K80", "capability": None}
    assert found["torch"] == {"error": "ImportError: broken"}
    program(tmp_path / "bin/nvidia-smi", 'echo "535.1, Tesla T4, 7.5"')
    assert take(tmp_path)["smi"] == {"driver": "535.1", "name": "Tesla T4", "capability": "sm_75"}


def test_what_is_sent_needs_nothing_but_the_standard_library() -> None:
    for node in ast.walk(ast.parse(Path(vitals.__file__).read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        assert all(name.partition(".")[0] in sys.stdlib_module_names for name in names), names


@pytest.mark.parametrize(
    ("free", "total", "good"), [(50e9, 128e9, True), (4e9, 20e9, False), (6e9, 200e9, False), (0, 1, False)]
)
def test_a_disk_that_fills_up(free: float, total: float, good: bool) -> None:
    assert doctor.disk({"free": free, "total": total}).good is good


def test_tmux_is_needed_and_rsync_is_convenient() -> None:
    assert doctor.there("tmux", {}, "Runs live in it").good is False
    assert doctor.there("rsync", {}, "", without="slower").good is True


def test_a_remedy_is_shown_only_for_what_needs_one() -> None:
    assert "mend" in finding_line(Finding("x", False, "broken", "mend it"))
    assert "mend" not in finding_line(Finding("x", True, "well", "mend it"))
    assert "\x1b[2J" not in finding_line(Finding("x", None, "\x1b[2J", "y"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("GPU_SANDBOX_DELAY", "0.2")
    home = Home.from_environment()
    yield Desk(home, Profile("sandbox", emulated=True, ssh_port=2222), "t2", Silent(), tmp_path)
    region.down(home.sandbox, purge=True)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main([*words, "-k", "t2"])
    return int(ended.value.code or 0), capsys.readouterr().out


def test_the_policy_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "doctor", "--policy") == (0, policy.FILE.read_text())


def test_it_does_not_start_a_sandbox_that_is_down(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "doctor", "--strict")
    assert (code, "the sandbox is not up" in out) == (0, True)
    assert region.find(desk.home.sandbox) is None


def test_a_profile_without_credentials(capsys: pytest.CaptureFixture[str], own_home: Path) -> None:
    config = own_home / "config.yaml"
    config.write_text("profiles: {mine: {aws_profile: nobody}}\n")
    code, out = run(capsys, "doctor", "--strict", "--json", "--config", str(config), "--profile", "mine")
    found = {finding["name"]: finding for finding in json.loads(out)}
    assert code == 1
    assert found["profile"]["good"] is False
    assert "aws_profile" in found["profile"]["remedy"]
    assert run(capsys, "doctor", "--config", str(config), "--profile", "mine")[0] == 0


def test_a_machine_in_the_sandbox_from_end_to_end(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    machine.start(desk, Wish("t2"))
    code, out = run(capsys, "doctor", "--json", "--strict")
    found = {finding["name"]: finding for finding in json.loads(out)}
    assert [finding for finding in found.values() if not finding["good"]] == []
    assert code == 0
    assert "the expected host key" in found["ssh there"]["what"]
    assert "vCPUs" in found["quota"]["what"]
    assert found["self-stop"]["what"].startswith("armed")
    assert "torch" in found["torch there"]["what"]

    code, out = run(capsys, "audit", "--json", "--strict")
    assert (code, json.loads(out)["orphaned"]) == (0, 0)
    assert {item["resource"] for item in json.loads(out)["items"]} >= {"instance", "volume", "elastic-ip", "vpc"}

    [disk] = (desk.home.sandbox / "instances").glob("i-*")
    (disk / "home/gpu/env").unlink()
    found = {finding.name: finding for finding in doctor.examine(desk)}
    assert found["python there"].good is False
    assert "provision.sh" in found["python there"].remedy

    machine.stop(desk)
    assert "ssh there" not in {finding.name for finding in doctor.examine(desk)}
