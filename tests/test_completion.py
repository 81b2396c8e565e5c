"""What a shell is offered: by what a word stands for, and never anything else than an offer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli.completion import MEANT, VARIABLE, Word
from orchestrator.cli.main import gpu
from orchestrator.cli.options import Command, Given
from orchestrator.data import catalog
from orchestrator.sandbox.rehearsals import REHEARSALS


def offered(*words: str) -> list[str]:
    """For the last of the words, which may be unfinished."""
    *before, incomplete = words
    answering = BashComplete(gpu, {"obj": Given()}, "gpu", VARIABLE)
    return [item.value for item in answering.get_completions(before, incomplete)]


def commands(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from commands(command) if isinstance(command, click.Group) else [command]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where somebody has data sets and runs, some of them with names that no command takes."""
    folder = tmp_path / "work"
    for name in (
        "flowers",
        "dogscats",
        "b o",
        ".hidden",
        "$(reboot)",
        "new\nline",
        "\udcff",
        "cats,dogs",
        "a:b",
        "-dash",
    ):
        (folder / "data" / name / "train").mkdir(parents=True)
    (folder / "data" / "no-set").mkdir()
    for name in ("20260101-120000-dogscats-0a1b", "20260201-120000-flowers-2c3d", "no-run"):
        (folder / "runs" / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.usefixtures("work")
def test_names_are_offered_by_what_they_stand_for() -> None:
    newest_first = ["20260201-120000-flowers-2c3d", "20260101-120000-dogscats-0a1b"]
    for words in (("pull",), ("logs", "-f"), ("train", "--resume"), ("runs", newest_first[0])):
        assert offered(*words, "") == newest_first
    assert offered("train", "--data", "") == ["dogscats", "flowers"]
    assert offered("train", "--data", "f") == ["flowers"]
    assert offered("data", "fetch", "") == catalog.known_names()
    assert offered("data", "fetch", "pets") == ["pets", "pets-breeds"]
    assert offered("get", "") == offered("ip", "-k", "") == offered("resize", "") == ["p2", "t2"]
    assert "g5.xlarge" in offered("-k", "g5")
    assert offered("sandbox", "fault", "") == [*REHEARSALS, "clear"]
    assert offered("sandbox", "fault", "clear", "thr") == ["throttle"]
    assert offered("tra") == ["train"]
    assert "--budget" in offered("train", "--")


def test_what_a_metavar_means_it_means_in_every_command() -> None:
    words = {
        parameter.type
        for command in commands(gpu)
        for parameter in command.params
        if isinstance(command, Command) and parameter.make_metavar(click.Context(command)).strip("[").startswith("RUN")
    }
    assert words == {MEANT["RUN"]}

    @click.command(cls=Command)
    @click.argument("run", metavar="RUN")
    @click.argument("kind", metavar="KIND")
    @click.argument("own", metavar="NAME", type=Word())
    @click.argument("files", metavar="NAME", type=click.Path())
    @click.argument("other", metavar="SOMETHING")
    def new() -> None:
        pass

    run, kind, own, files, other, *_ = new.params
    assert (run.type, kind.type, other.type) == (MEANT["RUN"], MEANT["KIND"], click.STRING)
    assert isinstance(own.type, Word) and own.type is not MEANT["NAME"]
    assert isinstance(files.type, click.Path)


def test_profiles_are_those_of_the_configuration_that_was_named(tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("profiles: {work: {region: eu-west-1}, a b: {}, ';reboot': {}}")
    assert offered("--config", str(file), "--profile", "") == ["aws", "sandbox", "work"]
    file.write_text("profiles: [")
    assert offered("--config", str(file), "--profile", "") == ["aws", "sandbox"]


def test_a_folder_that_cannot_be_read_offers_nothing(work: Path) -> None:
    for name in ("runs", "data"):
        (work / name).rename(work / f"old-{name}")
        assert offered("pull", "") == [] if name == "runs" else offered("train", "--data", "") == []
        (work / name).write_text("a file")
    assert offered("pull", "") == offered("train", "--data", "") == []


WORDS = st.one_of(
    st.sampled_from(["train", "data", "fetch", "sandbox", "fault", "--data", "-k", "--config", "--", "-", "=", "get"]),
    st.text(max_size=8),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=5))
def test_whatever_stands_in_the_line_nothing_goes_wrong(words: list[str]) -> None:
    assert all(isinstance(name, str) for name in offered(*words))


@pytest.mark.parametrize(
    ("line", "count", "answer"),
    [("gpu ip -k ", 3, "plain,p2\nplain,t2\n"), ("gpu sandbox status 'unfinished", 3, "\n")],
)
def test_it_is_quick_and_silent_whatever_lies_around(line: str, count: int, answer: str) -> None:
    """Nothing heavy is loaded, nothing is said beside the offer, and nothing is begun: no sandbox, no state."""
    home = Path(os.environ["GPU_HOME"])
    home.mkdir()
    (home / "config.yaml").write_bytes(b"\xff\x00{[")
    script = """
import contextlib, os, sys
from orchestrator.cli.main import main
with contextlib.suppress(SystemExit):
    main([])
unwanted = ("boto3", "botocore", "moto", "paramiko", "rich", "torch", "PIL")
assert not [name for name in unwanted if name in sys.modules]
"""
    environment = {**os.environ, VARIABLE: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(count)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, answer, "")
    assert [file.name for file in home.iterdir()] == ["config.yaml"]
