"""A first start without an image of one's own: the machine is made ready over SSH, whatever comes between."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from pathlib import Path

import pytest

from ..ami import shelf
from .conftest import Evening, interrupt

WISHES = "wished==1.0\n"
T4 = "pci:v000010DEd00001EB8sv000010DEsd000012A2bc03sc02i00\n"
MADE_READY = "the machine is made ready for training"
# apt-get brings a driver that the kernel takes at the next boot.
APT = """#!/bin/sh
case "$*" in *nvidia*) ;; *) exit 0 ;; esac
[ -e "$GPU_ROOT/bin/nvidia-smi" ] && exit
cp "$GPU_ROOT/run/boot" "$GPU_ROOT/installed"
cat >"$GPU_ROOT/bin/nvidia-smi" <<"END"
#!/bin/sh
cmp -s "$GPU_ROOT/run/boot" "$GPU_ROOT/installed" && exit 9
case "$*" in *driver_version*) echo 580.95.05 ;; *compute_cap*) echo 7.5 ;; esac
END
chmod +x "$GPU_ROOT/bin/nvidia-smi"
"""


def strip(disk: Path, wheels: Path) -> None:
    """As a public image is: without an environment. Its packages come from a folder of this computer."""
    home = disk / "home"
    (home / "gpu/env").unlink()
    for name, text in {
        "home/.config/pip/pip.conf": f"[global]\nno-index = true\nfind-links = {wheels}\n",
        "home/.cache/torch/hub/checkpoints/vgg16-397923af.pth": "nobody looks for it in the net",
        "home/gpu/requirements.txt": WISHES,
        "etc/os-release": "ID=ubuntu\nVERSION_CODENAME=jammy\n",
        "usr/local/bin/python3": f'#!/bin/sh\nexec {sys._base_executable} "$@"\n',  # type: ignore[attr-defined]
    }.items():
        (disk / name).parent.mkdir(parents=True, exist_ok=True)
        (disk / name).write_text(text)
    (disk / "usr/local/bin/python3").chmod(0o755)


@pytest.fixture
def disk(evening: Evening, tmp_path: Path) -> Path:
    """Of a machine that runs and has nothing for training yet."""
    assert MADE_READY not in evening.gpu("start").stderr
    assert any("stops by itself at" in line for line in evening.json("status")["awake"])
    [found] = (tmp_path / "gpu-home").glob("**/instances/i-*")
    strip(found, shelf.fill_with_this_one(tmp_path / "wheels"))
    return found


def test_a_machine_that_has_nothing_trains_after_an_interrupted_start(evening: Evening, disk: Path) -> None:
    evening.prepare()
    process = evening.start("start")
    assert process.stderr
    for line in process.stderr:
        if "making an environment" in line:
            break
    interrupt(process)
    assert process.wait(60) == 130
    process.communicate()

    trained = evening.gpu("--json", "train", "--data", "shapes")
    assert MADE_READY in trained.stderr
    assert "ok     environment  torch 2.14.1" in trained.stderr
    run = evening.folder / "runs" / json.loads(trained.stdout)["run"]
    assert json.loads(trained.stdout)["accuracy"] >= 0.9
    digest = hashlib.sha256(WISHES.encode()).hexdigest()
    for name in ("job.json", "manifest.json"):
        assert json.loads((run / name).read_text())["requirements"] == digest
    assert evening.gpu("ssh", "--", "python -c 'import torch, wished; print(torch.__version__)'").stdout.startswith(
        "2.14"
    )
    assert "/gpu/env/bin/jupyter" in evening.gpu("ssh", "--", "command -v jupyter").stdout
    assert MADE_READY not in evening.gpu("start").stderr

    (disk / "home/gpu/requirements.txt").write_text("nowhere==1.0\n")
    refused = evening.gpu("start", code=1)
    assert "is not ready: requirements. See gpu/provision/log.txt there" in refused.stderr
    assert evening.json("status")["phase"] == "running"


@pytest.mark.slow
def test_the_driver_follows_the_hardware_and_the_machine_is_restarted_for_it(evening: Evening, disk: Path) -> None:
    evening.gpu("stop")
    bus = disk / "sys/bus/pci/devices/0000:00:1e.0"
    bus.mkdir(parents=True)
    (bus / "modalias").write_text(T4)
    (disk / "bin/apt-get").write_text(APT)
    started = evening.gpu("start").stderr
    assert "it was installed, and needs a restart" in started
    assert "so that its driver is loaded" in started
    assert "ok     driver       580.95.05 for sm_75" in started
    assert started.count("ready, after") == 1
    assert MADE_READY not in evening.gpu("start").stderr
    # As after a resize.
    (bus / "modalias").unlink()
    again = evening.gpu("start").stderr
    assert MADE_READY in again
    assert "no GPU, none needed" in again


@pytest.mark.slow
@pytest.mark.usefixtures("disk")
def test_what_was_made_ready_and_is_killed_goes_on(evening: Evening) -> None:
    process = evening.start("start")
    assert process.stderr
    for line in process.stderr:
        if "making an environment" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert "ready, after" in evening.gpu("doctor", "--fix").stderr
    assert MADE_READY not in evening.gpu("start").stderr
