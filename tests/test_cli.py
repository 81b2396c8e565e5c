"""The command line's manners, through Click's own runner; nothing here starts a machine."""

from __future__ import annotations

import importlib
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orchestrator.cli.machine import credentials_at_hand
from orchestrator.cli.main import FAMILIES, gpu, main
from orchestrator.cli.options import Group
from orchestrator.cli.terminal import PlainProgress, Terminal, printable
from orchestrator.errors import Declined, nearest

README = Path(__file__).parent.parent / "README.md"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def commands(group: click.Group, prefix: str = "gpu") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


ALL = dict(commands(gpu))


def test_daily_life_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert re.findall(r"^  (start|train|ssh|status|stop) ", out, re.M) == ["start", "train", "ssh", "status", "stop"]
    assert out.index("Daily life") < out.index("Runs:") < out.index("Rehearsal")
    assert "Other commands" not in out


@pytest.mark.parametrize("name", ALL)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *name.split()[1:], "--help")
    assert code == 0
    assert ALL[name].help
    for option in ("--profile", "--kind", "--config", "--json", "--verbose", "--yes"):
        assert option in out


@pytest.mark.parametrize("name", ALL)
def test_the_readme_names_every_command(name: str) -> None:
    assert re.search(rf"\b{re.escape(name.split()[-1])}\b", README.read_text())


@pytest.mark.parametrize("words", [("--profile", "nobody", "ip"), ("ip", "--profile", "nobody")])
def test_common_options_stand_before_and_after(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert "there is no profile nobody" in err
    assert err.count("\n") == 1


def test_the_word_after_the_command_wins(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no profile second" in run(capsys, "--profile", "first", "ip", "--profile", "second")[2]


def test_flag_then_environment_then_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("default: aws")
    monkeypatch.setenv("GPU_PROFILE", "fromenv")
    assert "no profile fromenv" in run(capsys, "--config", str(file), "ip")[2]
    assert "no profile flag" in run(capsys, "--config", str(file), "--profile", "flag", "ip")[2]


@pytest.mark.parametrize("words", [("--config", "nope.yaml", "data", "ls"), ("data", "ls", "--config", "nope.yaml")])
def test_a_configuration_that_is_not_there_is_said(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert "there is no configuration nope.yaml" in err


def test_so_is_that_of_the_environment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_CONFIG", "nope.yaml")
    assert "there is no configuration nope.yaml" in run(capsys, "data", "ls")[2]
    monkeypatch.setenv("GPU_CONFIG", "")
    assert run(capsys, "data", "ls")[0] == 0


@pytest.mark.parametrize(
    "words", [("strat",), ("start", "--kidn", "p2"), ("train",), ("data", "prepare", "x"), ("cancel",)]
)
def test_wrong_usage_is_two_and_no_traceback(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "--data", "x", "--", "--out", "/tmp"), "--out is what `gpu train` gives the trainer itself"),
        (("train", "--data", "x", "--", "--mod=vgg16"), "Give gpu's own --model"),
        (("train", "--data", "x", "--", "--help"), "trains nothing"),
        (
            ("train", "--resume", "last", "--model", "vgg16", "-m", "x", "--", "--views", "3"),
            "--model, --note, options",
        ),
    ],
)
def test_a_wish_that_would_be_lost_is_refused(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "") and said in err


@pytest.mark.parametrize(("words", "meant"), [(("trian",), "train"), (("data", "perpare"), "prepare")])
def test_a_mistyped_command_is_guessed(words: tuple[str, ...], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = run(capsys, *words)
    assert code == 2
    assert said.count("Did you mean") == 1
    assert meant in said.partition("Did you mean")[2]


def test_help_needs_neither_boto3_nor_torch_nor_moto() -> None:
    script = (
        "import sys; from orchestrator.cli.main import gpu;"
        "print([m for m in ('boto3', 'botocore', 'torch', 'moto') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_family_makes_the_commands_that_it_is_loaded_for() -> None:
    for family, names in FAMILIES.items():
        fresh = Group("gpu")
        importlib.import_module(f"orchestrator.cli.{family}").register(fresh)
        assert set(fresh.commands) == set(names), family


def test_one_command_loads_its_own_family_alone() -> None:
    script = """
import contextlib, sys
from orchestrator.cli.main import main
with contextlib.suppress(SystemExit):
    main(["ip", "--help"])
unwanted = ("PIL", "rich", "paramiko", "boto3", "botocore", "orchestrator.cli.data", "orchestrator.cli.runs")
print([name for name in unwanted if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_ctrl_c_inside_a_finalizer_is_heard() -> None:
    script = """
import os, signal, time
from orchestrator.cli.interrupt import heed_everywhere
class Struck:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
heed_everywhere()
try:
    del (struck := [Struck()])[:]
    time.sleep(10)
    print("slept on")
except KeyboardInterrupt:
    print("heard")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("heard\n", "")


def test_asking_where_nobody_can_answer_is_a_refusal() -> None:
    with pytest.raises(Declined, match="-y"):
        Terminal().confirm("Go ahead?")
    assert Terminal(agree=True).confirm("Go ahead?")


def test_on_a_terminal_the_profile_is_named() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "wb") as terminal:
        argv = [sys.executable, "-m", "orchestrator", "data", "ls"]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=terminal, check=True)
    said = os.read(master, 4096)
    os.close(master)
    assert b"profile sandbox" in said
    assert b"no data set" in done.stdout


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"])
def test_credentials_are_noticed_in_the_environment(name: str, tmp_path: Path) -> None:
    assert credentials_at_hand({"HOME": str(tmp_path), name: "x"})
    assert not credentials_at_hand({"HOME": str(tmp_path)})


def test_credentials_are_noticed_in_their_file(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").touch()
    assert credentials_at_hand({"HOME": str(tmp_path)})


def test_names_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[31mb\rc\nd") == "a\\x1b[31mb\\rc\nd"


def test_plain_progress_says_the_end_once(capsys: pytest.CaptureFixture[str]) -> None:
    bar = PlainProgress("sending", "B", 2e6)
    for done in (1, 1e6, 2e6, 2e6):
        bar.update(done)
    assert capsys.readouterr().err == "sending: 2.0 MB of 2.0 MB\n"


def test_nearest_names() -> None:
    assert nearest("dogcats", ["dogscats", "flowers"]) == "Did you mean dogscats?"
    assert nearest("zzz", ["dogscats"]) == ""
