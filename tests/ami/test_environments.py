"""`ami/environments.yaml`: what bash reads of it, and what each build itself says that it has kernels for."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import prices
from orchestrator.verbs import torchcheck

from . import grounds, shelf

FILE = grounds.FOLDER / "environments.yaml"
TABLE: Mapping[str, Mapping[str, Mapping[str, Any]]] = yaml.safe_load(FILE.read_text())
BUILDS, CAPABILITIES, PACKAGES = TABLE["builds"], TABLE["capabilities"], TABLE["packages"]
ASKED = {f"sm_{step}" for step in (37, 52, 60, 61, 70, 75, 80, 86, 89, 90, 100, 120)} | {"cpu"}
FLAGS = "import torch; print(torch._C._cuda_getArchFlags(), torch.__version__, torch.version.cuda)"


def users(build: str) -> list[str]:
    """The capabilities that are given it, with the driver of the table or with an older one."""
    return [name for name, line in CAPABILITIES.items() if build in (line["build"], *line["with_older_driver"].split())]


def test_bash_reads_what_yaml_means() -> None:
    script = """. "$1"; for t in builds capabilities packages; do for e in $(ask $t); do for f in $2; do
        printf '%s\\t%s\\t%s\\t%s\\n' "$t" "$e" "$f" "$(ask "$t" "$e" "$f")"; done; done; done"""
    fields = {field for table in TABLE.values() for line in table.values() for field in line}
    argv = ["bash", "-c", script, "source", str(grounds.FOLDER / "provision.sh"), " ".join(sorted(fields))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    read = {tuple(line.split("\t")) for line in done.stdout.splitlines()}
    meant = {
        (table, entry, field, str(line.get(field, "")))
        for table, lines in TABLE.items()
        for entry, line in lines.items()
        for field in fields
    }
    assert read == meant


def test_every_line_is_whole() -> None:
    assert set(CAPABILITIES) >= ASKED
    for line in CAPABILITIES.values():
        assert {line["build"], *line["with_older_driver"].split()} <= set(BUILDS)
        assert line["modules"] in ("open", "proprietary", "none")
    for line in BUILDS.values():
        assert re.fullmatch(r"3\.\d+-3\.\d+", line["python"])
        low, high = (int(end.partition(".")[2]) for end in line["python"].split("-"))
        assert low <= int(line["fetched"].partition(".")[2]) <= high
        assert line["source"].startswith("https://")


def test_older_torches_have_the_python_and_the_numpy_that_they_need() -> None:
    old = next(line for line in BUILDS.values() if line["torch"] == "2.0.1")
    assert old["python"].endswith("-3.11")
    assert old["numpy"].startswith("1.")


def test_each_older_driver_is_really_met_by_an_older_build() -> None:
    for line in CAPABILITIES.values():
        least = [BUILDS[name]["least_driver"] for name in (line["build"], *line["with_older_driver"].split())]
        assert least == sorted(least, reverse=True)


def test_the_table_of_machines_has_no_gpu_without_an_environment() -> None:
    for name, entry in prices.table().types.items():
        assert (entry.gpu is None) == (entry.capability is None), name
        assert (entry.capability or "cpu") in CAPABILITIES, name


def test_no_two_gpus_share_a_device_id() -> None:
    spans = []
    for line in CAPABILITIES.values():
        for span in line["pci"].split() if line["pci"] != "none" else ():
            low, _, high = str(span).partition("-")
            spans.append((int(low, 16), int(high or low, 16)))
    spans.sort()
    assert all(low <= high for low, high in spans)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))


def test_the_newest_build_says_itself_what_it_has_kernels_for() -> None:
    """The one that these tests run with."""
    said = subprocess.run([sys.executable, "-c", FLAGS], capture_output=True, text=True, check=True).stdout
    prove(CAPABILITIES["cpu"]["build"], said)


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS)
def test_each_build_says_itself_what_it_has_kernels_for(build: str, tmp_path: Path) -> None:
    """In an environment made for it, of gigabytes and minutes, with a Python of this computer that it takes."""
    line = BUILDS[build]
    query = f'. "$1"; build={build}; find_python'
    argv = ["bash", "-c", query, "source", str(grounds.FOLDER / "provision.sh")]
    python = subprocess.run(argv, capture_output=True, text=True).stdout
    if not python:
        pytest.skip(f"torch {line['torch']} needs Python {line['python']}, which is not here")
    env = tmp_path / "env"
    subprocess.run([python, "-m", "venv", env], check=True)
    wanted = [f"torch=={line['torch']}", f"torchvision=={line['torchvision']}", f"numpy=={line['numpy']}"]
    install = [env / "bin/python", "-m", "pip", "install", "-q", "--no-cache-dir", *wanted]
    try:
        subprocess.run(install, check=True, timeout=1700)
        ask = [env / "bin/python", "-c", f"import torchvision; {FLAGS}"]
        prove(build, subprocess.run(ask, capture_output=True, text=True, check=True).stdout)
    finally:
        shutil.rmtree(env)


def prove(build: str, said: str) -> None:
    """`said`: the architectures, the version and the CUDA of an installed torch."""
    *flags, version, cuda = said.split()
    line = BUILDS[build]
    assert (version.partition("+")[0], cuda) == (line["torch"], line["cuda"])
    assert " ".join(flags) == shelf.FLAGS[line["torch"]]
    for capability in users(build):
        assert capability == "cpu" or torchcheck.fits(capability, flags), capability
