"""The names of the course in the shells that people use, and what these offer when Tab is pressed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import aliases

from .conftest import Evening

SCRIPT = Path(aliases.__file__).with_name("aws-alias.sh")
LECTURE = """
set -eu
alias aws-ip='echo an alias of 2016'
. "$SCRIPT"; . "$SCRIPT"
aws-get-t2 || echo "none $? ${instanceId-unset} ${instanceIp-unset}"
aws-start >/dev/null
t2=$instanceId
aws-get-p2 || echo "none $? ${instanceId-unset} ${instanceIp-unset}"
aws-start >/dev/null
echo "ids $t2 $instanceId"
echo "ip $instanceIp"
aws-ip
unset instanceIp
gpu get t2 >/dev/null
aws-ssh uname
aws-ssh 'exit 7' || echo "code $?"
aws-state
aws-stop
aws-get-t2
aws-ssh echo there
env | grep ^instanceId
"""


def shell(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gpu`, by its name, in every shell."""
    program = tmp_path / "bin" / "gpu"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SCRIPT", str(SCRIPT))


def run(evening: Evening, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        words, cwd=evening.folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_the_evening_of_the_lecture_on_two_machines(name: str, evening: Evening) -> None:
    """Both machines are made and run side by side; each shell acts on its own, whatever another one selects."""
    program = shell(name)
    home = Path(os.environ["GPU_HOME"])
    home.mkdir()
    (home / "config.yaml").write_text("default: box\nprofiles: {box: {provider: server, host: nowhere}}\n")
    done = run(evening, program, "-c", LECTURE, GPU_PROFILE="sandbox")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, ids, ip, said, system, code, state, *rest = done.stdout.splitlines()
    assert first == second == "none 1 unset unset"
    t2, p2 = ids.split()[1:]
    assert t2 != p2
    assert ip == f"ip {said}"
    assert (system, code) == (os.uname().sysname, "code 7")
    assert state.startswith(f"p2: {p2} (p2.xlarge) is running at {said}")
    assert rest[-4:] == [f"{p2} is stopped", t2, "there", f"instanceId={t2}"]

    # Someone's own machine, or one that is gone, is refused; what is refused ends a careful script, and sets nothing.
    stop = '. "$SCRIPT"; aws-stop; echo on'
    refused = run(evening, program, "-euc", stop, GPU_PROFILE="sandbox", instanceId="i-9aa9c282")
    sentence = "gpu: i-9aa9c282 is no machine of the profile sandbox. See the id of one with: gpu get KIND\n"
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", sentence)
    refused = run(evening, program, "-c", 'eval "$(gpu aliases)"; aws-ip; echo "$? ${instanceIp-unset}"', instanceId=t2)
    assert refused.stdout == "1 unset\n"
    assert "nowhere is a machine of your own and has no instance id" in refused.stderr


def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run([shell("shellcheck"), SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@dataclass
class Typist:
    """A shell on a terminal of its own, and somebody who types there."""

    socket: Path

    def tmux(self, *words: str) -> str:
        argv = ["tmux", "-S", str(self.socket), "-f", "/dev/null", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", "--", text)

    def keys(self, *names: str) -> None:
        self.tmux("send-keys", *names)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def see(self, *texts: str) -> str:
        """The screen, once it shows these one after the other."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            screen = self.screen()
            places = [screen.rfind(text) for text in texts]
            if -1 not in places and places == sorted(places):
                return screen
            time.sleep(0.05)
        raise AssertionError(f"never saw {texts} in:\n{self.screen()}")


STARTS = {
    "bash": ("bash --norc --noprofile", "PS1='> '", 'eval "$(gpu completion bash)"'),
    "zsh": ("zsh -f", "PS1='> '", "autoload -U compinit; compinit -u -D", 'eval "$(gpu completion zsh)"'),
    "fish": ("fish --no-config", "function fish_prompt; echo '> '; end", "gpu completion fish | source"),
}
OLD, NEW = "20260101-120000-dogscats-0a1b", "20260201-120000-flowers-2c3d"


@pytest.fixture
def typist(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Typist]:
    """In a folder with a data set and two runs, with a configuration that is garbage."""
    program, *lines = STARTS[request.param]
    shell(program.split()[0])
    folder, home = tmp_path / "work", Path(os.environ["GPU_HOME"])
    for made in (folder / "data/dogscats/train", folder / "runs" / OLD, folder / "runs" / NEW, home):
        made.mkdir(parents=True)
    (home / "config.yaml").write_text("profiles: {[\n")
    # A socket's path may have a hundred characters.
    with tempfile.TemporaryDirectory() as short:
        typing = Typist(Path(short, "tmux"))
        typing.tmux("new-session", "-d", "-x", "100", "-y", "50", "-c", str(folder), program)
        try:
            for line in (*lines, "echo $PWD ready"):
                typing.type(line)
                typing.keys("Enter")
            typing.see("work ready")
            yield typing
        finally:
            typing.tmux("kill-server")
    assert not (home / "state").exists()


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize("typist", STARTS, indirect=True)
def test_tab_completes(typist: Typist) -> None:
    typist.type("gpu tra\t")
    typist.see("> gpu train")
    typist.type("--da\t")
    typist.see("> gpu train --data")
    typist.type("dogs\t")
    typist.see("> gpu train --data dogscats")
    typist.keys("C-u")
    typist.type("gpu train --data=do\t")
    typist.see("> gpu train --data=dogscats")
    typist.keys("C-u")
    typist.type("gpu --profile sa\t")
    typist.see("> gpu --profile sandbox")
    typist.type("data fetch dogscats-\t")
    typist.see("> gpu --profile sandbox data fetch dogscats-tiny")
    typist.keys("C-u")
    typist.type("gpu sandbox fault spot\t")
    typist.see("> gpu sandbox fault spot-notice")
    typist.keys("C-u")
    typist.type("gpu pull 20260\t\t")
    assert "gpu: " not in typist.see(NEW, OLD)
