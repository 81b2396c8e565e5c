"""`ami/provision.sh` in an empty home: what it makes, what it finds wrong, and that nothing else is touched."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ami import pipwheel

from . import grounds, shelf
from .grounds import Grounds

BROKEN = "echo it does not run >&2; exit 1"
NOTED = 'echo "${0##*/} $*" >>"$GPU_ROOT/done"'
ENABLING = """
units=$GPU_ROOT/etc/systemd/system
case $1 in enable) mkdir -p "$units/timers.target.wants" && ln -sf "../$2" "$units/timers.target.wants/$2" ;; esac
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Grounds]:
    """A machine of the cloud that has been made ready, with what the tests of this module have mended since."""
    made = grounds.lay_out()
    found = next(made)
    for name in ("apt-get", "modprobe"):
        found.program(name, NOTED)
    found.program("systemctl", NOTED + ENABLING)
    found.program("sudo", 'exec "$@"')
    try:
        found.said = found.ready("machine")
        yield found
    finally:
        for _ in made:
            pass


@pytest.fixture
def machine(shared: Grounds) -> Iterator[Grounds]:
    yield shared
    shared.more.clear()
    shared.has_no_gpu()


def test_a_bare_machine_becomes_ready(machine: Grounds) -> None:
    for part in ("programs", "locale", "passwords", "driver", "environment", "requirements", "weights", "path"):
        assert f"ok     {part} " in machine.said
    assert machine.said.splitlines()[-1].startswith("ready, after ")
    assert machine.env.readlink() == machine.home / "gpu/envs/torch-2.14.1"
    assert (machine.root / "etc/default/locale").read_text() == "LANG=C.UTF-8\n"
    assert "PasswordAuthentication no" in (machine.root / "etc/ssh/sshd_config.d/05-gpu-no-passwords.conf").read_text()
    installed = machine.root / "usr/local/bin/gpu-selfstop"
    assert installed.read_bytes() == (grounds.FOLDER / "selfstop.sh").read_bytes()
    assert "systemctl enable gpu-selfstop.timer" in machine.done()
    log = (machine.home / "gpu/provision/log.txt").read_text()
    assert "Successfully installed" in log
    assert "making an environment of" in log


def test_the_second_run_changes_nothing(machine: Grounds) -> None:
    before = grounds.listing(machine.root, without=("log.txt", "provision"))
    said = machine.ready("machine")
    # What cannot be had is asked for again.
    [first, *parts, last] = said.partition("  the weights of VGG16")[0].splitlines() + said.splitlines()[-1:]
    assert first.startswith("machine of ")
    assert all(part.startswith("ok ") for part in parts)
    assert last.startswith("ready, after ")
    assert grounds.listing(machine.root, without=("log.txt", "provision")) == before


def test_what_is_ready_is_noted(machine: Grounds) -> None:
    """For whom `gpu start` asks before it does anything; not while something is changed."""
    note = machine.home / "gpu/provision/ready"
    assert note.read_text() == f"{machine.home}/gpu/envs/torch-2.14.1\n"
    wishes = machine.write("home/gpu/requirements.txt", "six==3.0\n")
    assert machine.wrong("machine") == ["requirements"]
    assert not note.exists()
    wishes.write_text("six==1.0\n")
    machine.ready("machine")
    assert note.read_text() == f"{machine.home}/gpu/envs/torch-2.14.1\nsix==1.0\n"
    wishes.unlink()
    machine.ready("machine")


def test_looking_changes_nothing_at_all(machine: Grounds) -> None:
    before = grounds.listing(machine.root)
    assert machine.ready("machine", "--check").splitlines()[-1] == "ready"
    assert machine.ready("server", "--check").splitlines()[-1] == "ready"
    assert grounds.listing(machine.root) == before


# The part or parts, a path, and what stands there instead; None: nothing does.
BREAKS: dict[str, tuple[str, str, str | None]] = {
    "locale": ("locale", "etc/default/locale", "LANG=C\n"),
    "passwords": ("passwords", "etc/ssh/sshd_config.d/05-gpu-no-passwords.conf", "PasswordAuthentication yes\n"),
    "link": ("environment weights path", "home/gpu/env", None),
    "module": ("environment", "home/gpu/env/lib/python3*/site-packages/sklearn", None),
    "torch": (
        "environment",
        "home/gpu/env/lib/python3*/site-packages/torch/__init__.py",
        "raise ImportError('cuda')\n",
    ),
    "unfinished": ("environment", "home/gpu/envs/torch-2.14.1/complete", None),
    "weights": ("weights", "home/gpu/env/lib/python3*/site-packages/efficientnet*/models/*.pth", "else"),
    "requirements": ("requirements", "home/gpu/requirements.txt", "six\n"),
    "shell": ("path", "home/.bashrc", None),
    "login": ("path", "etc/profile.d/gpu-env.sh", None),
    "selfstop": ("selfstop", "usr/local/bin/gpu-selfstop", "#!/bin/sh\n"),
    "timer": ("selfstop", "etc/systemd/system/timers.target.wants/gpu-selfstop.timer", None),
}


def break_it(machine: Grounds, name: str) -> tuple[Path, Path]:
    """Where it was, and where it is kept."""
    _, pattern, instead = BREAKS[name]
    path = next(machine.root.glob(pattern), machine.root / pattern)
    kept = path.with_name(f"_kept-{path.name}")
    if os.path.lexists(path):
        path.rename(kept)
    if instead is not None:
        path.write_text(instead)
        grounds.own(path)
    return path, kept


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_part_is_named(machine: Grounds, name: str) -> None:
    path, kept = break_it(machine, name)
    try:
        assert machine.wrong("machine", "--check") == BREAKS[name][0].split()
    finally:
        path.unlink(missing_ok=True)
        if os.path.lexists(kept):
            kept.rename(path)


def test_everything_that_is_broken_is_mended(machine: Grounds) -> None:
    for name in [name for name in BREAKS if name != "link"]:
        break_it(machine, name)
    said = machine.ready("machine")
    assert "installing again: torch==2.14.1 scikit-learn" in said
    assert machine.ready("machine", "--check").splitlines()[-1] == "ready"
    (machine.home / "gpu/requirements.txt").unlink()
    machine.ready("server")
    assert not (machine.env / "requirements.sha256").exists()


def test_a_program_that_does_not_run_is_named(machine: Grounds) -> None:
    """An emulated apt-get brings none."""
    tool = machine.program("tmux", BROKEN)
    try:
        assert machine.wrong("machine") == ["programs"]
        assert "apt-get -q -o DPkg::Lock::Timeout=900 install -y --no-install-recommends tmux rsync" in " ".join(
            machine.done()
        )
        assert "ask whoever runs this server" in machine.call("server", "--check").stdout
    finally:
        tool.unlink()


def test_a_machine_that_went_down_while_it_installed_goes_on(machine: Grounds) -> None:
    """dpkg finishes what it had begun; a source that does not answer keeps nobody from the others."""
    machine.program("dpkg", f'{NOTED}\nrm "$0"')
    updated = f"case $* in *update*) echo 'E: no Release file'; exit 100 ;; esac\n{NOTED}"
    refused = "[ ! -e $GPU_ROOT/bin/dpkg ] || { echo 'E: dpkg was interrupted'; exit 100; }"
    tmux = machine.write("tmux", "#!/bin/sh\necho tmux 3.4\n", mode=0o755)
    broken = machine.program("tmux", BROKEN)
    machine.program("apt-get", f"{refused}\n{updated}\ncp {tmux} {broken}")
    try:
        machine.ready("machine")
    finally:
        machine.program("apt-get", NOTED)
        broken.unlink()
        (machine.root / "bin/dpkg").unlink(missing_ok=True)
    assert "dpkg --configure -a" in machine.done()


def test_packages_of_ones_own(machine: Grounds) -> None:
    wishes = machine.write("wishes.txt", "six==1.0\n")
    machine.ready("machine", "--requirements", str(wishes))
    digest = hashlib.sha256(b"six==1.0\n").hexdigest()
    assert (machine.env / "requirements.sha256").read_text() == digest + "\n"
    assert (machine.packages / "six/__init__.py").exists()
    kept = machine.home / "gpu/requirements.txt"
    kept.write_text("six==1.0\nscipy==1.0\n")
    assert machine.wrong("server", "--check") == ["requirements"]
    # Nobody's wish brings another torch.
    kept.write_text("torch==2.0.1\n")
    assert machine.wrong("server") == ["requirements"]
    assert "torch 2.14.1 on" in machine.call("server", "--check").stdout
    kept.unlink()
    machine.ready("server")
    assert not (machine.env / "requirements.sha256").exists()


def test_what_cannot_be_installed_takes_no_place(machine: Grounds) -> None:
    """The file that was good goes on being what the machine has; an empty one takes it away."""
    kept = machine.home / "gpu/requirements.txt"
    good = machine.write("wishes.txt", "six==1.0\n")
    bad = machine.write("bad.txt", "six==1.0\nnowhere==3.0\n")
    machine.ready("server", "--requirements", str(good))
    assert machine.wrong("server", "--requirements", str(bad)) == ["requirements"]
    assert kept.read_text() == "six==1.0\n"
    machine.ready("server", "--check")
    machine.ready("server")
    # One that has never been good, from times when it was not tried before.
    kept.write_text("nowhere==3.0\n")
    assert machine.wrong("server") == ["requirements"]
    machine.ready("server", "--requirements", str(machine.write("none.txt", "")))
    assert not kept.exists()
    assert "ok     requirements none" in machine.ready("server", "--check")


def test_the_weights_of_vgg16_where_they_can_be_had(machine: Grounds) -> None:
    machine.write("mirror/vgg16-397923af.pth", "other bytes than its name says")
    assert "left out" in machine.ready("server")
    held = machine.home / ".cache/torch/hub/checkpoints/vgg16-397923af.pth"
    assert [path.name for path in held.parent.iterdir()] == []
    script = machine.root / "ami/provision.sh"
    text = script.read_text()
    digest = hashlib.sha256(b"the network of the lesson").hexdigest()[:8]
    script.write_text(text.replace("397923af", digest))
    machine.write(f"mirror/vgg16-{digest}.pth", "the network of the lesson")
    try:
        assert f"vgg16-{digest}.pth" not in machine.ready("server", "--check")
        machine.ready("server")
        assert f", vgg16-{digest}.pth" in machine.ready("server", "--check")
    finally:
        script.write_text(text)


@pytest.mark.parametrize(
    ("device", "driver", "capability", "torch"),
    [
        ("102d", "", "", "2.0.1"),
        ("1eb8", "", "", "2.14.1"),
        ("1eb8", "580.95.05", "7.5", "2.14.1"),
        ("1eb8", "535.247.01", "7.5", "2.10.0"),
        ("1eb8", "470.256.02", "7.5", "2.0.1"),
        ("27b8", "418.226.00", "8.9", ""),
        ("1db1", "", "", "2.10.0"),
        ("13c2", "580.95.05", "5.2", "2.7.1"),
        ("3182", "590.44.01", "10.3", "2.14.1"),
        ("ffff", "", "", "2.14.1"),
        ("0fff", "", "", "2.14.1"),
    ],
)
def test_the_torch_follows_the_gpu_and_its_driver(
    machine: Grounds, device: str, driver: str, capability: str, torch: str
) -> None:
    machine.has_gpu(device, driver, capability)
    assert machine.source('survey; printf %s "$torch"') == torch


UBUNTU = "ID=ubuntu\nVERSION_CODENAME=noble\n"
DEBIAN = "ID=debian\nVERSION_CODENAME=bookworm\n"


@pytest.mark.parametrize(
    ("system", "device", "packages"),
    [
        (UBUNTU, "102d", "nvidia-headless-470-server nvidia-utils-470-server"),
        (UBUNTU, "1db1", "nvidia-headless-580-server nvidia-utils-580-server"),
        (UBUNTU, "1eb8", "nvidia-headless-580-server-open nvidia-utils-580-server"),
        (DEBIAN, "102d", "nvidia-tesla-470-kernel-dkms nvidia-tesla-470-driver-bin nvidia-tesla-470-smi"),
        (DEBIAN, "1eb8", "nvidia-kernel-dkms nvidia-driver-bin nvidia-smi libcuda1"),
    ],
    ids=["K80 on Ubuntu", "V100 on Ubuntu", "T4 on Ubuntu", "K80 on Debian", "T4 on Debian"],
)
def test_the_driver_follows_the_gpu_and_the_system(machine: Grounds, system: str, device: str, packages: str) -> None:
    machine.has_gpu(device)
    machine.write("etc/os-release", system)
    asked = machine.source("survey; driver_packages").split("\n")
    assert " ".join(asked).startswith(f"linux-headers-{os.uname().release} {packages}")


# As `apt-get indextargets` answers: where the source is written down, and its URI.
KNOWS_ITS_SOURCES = """
case "$*" in
  *indextargets*non-free*) exit 0 ;;
  *indextargets*bookworm*main*) echo "$(cat "$GPU_ROOT/source"):1 http://mirror.example/debian/"; exit 0 ;;
esac
"""
STANZAS = """Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
# the nearest one
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
LINES = """deb http://mirror.example/debian-security bookworm-security main
deb [signed-by=/key.gpg] http://mirror.example/debian bookworm main
deb-src http://mirror.example/debian bookworm main
"""


def has_sources(machine: Grounds, name: str, text: str) -> None:
    machine.write("etc/os-release", DEBIAN)
    machine.write(name, text)
    machine.write("source", f"/{name}")
    machine.program("apt-get", KNOWS_ITS_SOURCES + NOTED)


def test_debian_s_driver_comes_from_where_the_machine_has_its_packages(machine: Grounds) -> None:
    has_sources(machine, "etc/apt/sources.list.d/debian.sources", STANZAS)
    machine.source("add_nonfree")
    added = (machine.root / "etc/apt/sources.list.d/gpu-nvidia.sources").read_text()
    assert added == STANZAS.partition("\n\n")[2].replace(": main", ": contrib non-free non-free-firmware")
    has_sources(machine, "etc/apt/sources.list", LINES)
    machine.source("add_nonfree")
    added = (machine.root / "etc/apt/sources.list.d/gpu-nvidia.list").read_text()
    assert (
        added == "deb [signed-by=/key.gpg] http://mirror.example/debian bookworm contrib non-free non-free-firmware\n"
    )
    has_sources(machine, "etc/apt/sources.list", "")
    assert "not seen where this machine has its packages from" in machine.source("add_nonfree")


def test_a_driver_is_installed_where_none_answers(machine: Grounds) -> None:
    """What apt-get brings answers when the kernel has loaded it, or after a restart, or not at all."""
    machine.has_gpu("1eb8")
    has_sources(machine, "etc/apt/sources.list.d/debian.sources", STANZAS)
    machine.program("nvidia-uninstall", NOTED + '\nrm "$0"')
    machine.write("run/boot", "first 0 1\n")
    (machine.root / "done").unlink()
    first = machine.call("machine")
    assert first.returncode == 3, first.stdout
    assert "needs a restart" in machine.call("machine", "--check").stdout
    assert first.stdout.splitlines()[-1] == "it goes on after a restart: driver"
    assert "nvidia-uninstall --silent" in machine.done()
    assert not (machine.home / "gpu/provision/ready").exists()
    machine.write("run/boot", "second 0 1\n")
    second = machine.call("machine")
    assert second.returncode == 1
    assert "does not answer after a restart either" in second.stdout
    assert second.stdout.splitlines()[-1] == "not ready: driver"

    driver = machine.program("loaded", grounds.smi("580.95.05", "7.5"))
    machine.program("modprobe", f'{NOTED}\nmv "{driver}" "$GPU_ROOT/bin/nvidia-smi"')
    assert "ok     driver       580.95.05 for sm_75" in machine.ready("machine")
    assert "pci:v000010DEd00001EB8" in (machine.home / "gpu/provision/ready").read_text()
    installs = [line for line in machine.done() if line.startswith("apt-get") and " nvidia-driver-bin " in line]
    assert len(installs) == 3
    machine.program("modprobe", NOTED)
    machine.program("apt-get", NOTED)


def test_a_python_that_fits_is_fetched_where_there_is_none(machine: Grounds) -> None:
    """As for torch 2.0.1 on Ubuntu 24.04. Python comes from where no test goes: uv is a stand-in."""
    names = ["python3", *(f"python3.{minor}" for minor in (10, 11, 12, 13))]
    for name in names:
        machine.program(name, "echo 3.99")
    bring = 'mkdir -p "$5/cpython-$6/bin" && ln -s /usr/bin/python3 "$5/cpython-$6/bin/python3"'
    uv = machine.write("home/gpu/provision/tools/bin/uv", f"#!/bin/sh\necho $* >$GPU_ROOT/uv\n{bring}\n", mode=0o755)
    try:
        assert machine.source("survey; find_python") == ""
        found = machine.source("survey; fetch_python >&2; find_python")
    finally:
        for path in (uv, *(machine.root / "bin" / name for name in names)):
            path.unlink()
    assert found == f"{machine.home}/gpu/python/cpython-3.12/bin/python3"
    asked = (machine.root / "uv").read_text().split()
    assert asked == ["python", "install", "--no-bin", "--install-dir", f"{machine.home}/gpu/python", "3.12"]


@pytest.mark.parametrize("packed", [False, True], ids=["Python's own", "the installed one"])
def test_a_python_without_pip_is_given_the_one_that_was_sent(machine: Grounds, packed: bool) -> None:
    """As Debian's and Ubuntu's without python3-venv, where nobody is root to install that."""
    python = machine.program("python3", f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec {_python_of(machine)} "$@"')
    for minor in range(10, 14):
        machine.program(f"python3.{minor}", BROKEN)
    made = f"{machine.home}/made"
    try:
        assert "no pip was sent" in machine.source(f"make_venv {python} {made}")
        name, content = (pipwheel.pack() if packed else pipwheel.wheel()) or ("", b"")
        sent = machine.root / "ami" / name
        sent.write_bytes(content)
        grounds.own(sent)
        machine.source(f"make_venv {python} {made} >&2")
        sent.unlink()
        said = subprocess.run([f"{made}/bin/pip", "--version"], capture_output=True, text=True, check=True).stdout
    finally:
        for path in (machine.root / "bin").glob("python3*"):
            path.unlink()
        shutil.rmtree(made, ignore_errors=True)
    assert said.startswith(f"pip {name.split('-')[1]} from {made}")


def _python_of(machine: Grounds) -> str:
    return os.path.realpath(machine.env / "bin/python")


def test_a_run_keeps_its_packages(machine: Grounds) -> None:
    lock = machine.write("home/gpu/lock", "")
    complete = machine.home / "gpu/envs/torch-2.14.1/complete"
    complete.rename(complete.with_name("kept"))
    with subprocess.Popen(["flock", str(lock), "sleep", "300"], start_new_session=True) as run:
        try:
            _eventually(lambda: subprocess.run(["flock", "--nonblock", str(lock), "true"]).returncode)
            done = machine.call("server")
        finally:
            os.killpg(run.pid, signal.SIGKILL)
    complete.with_name("kept").rename(complete)
    assert done.returncode == 1
    assert "a run is at work in it" in done.stdout


@pytest.mark.slow
def test_a_disk_that_moves_to_another_gpu_and_back(machine: Grounds) -> None:
    machine.has_gpu("1eb8", "535.247.01", "7.5")
    assert machine.wrong("machine", "--check") == ["environment"]
    machine.ready("machine")
    assert machine.env.readlink().name == "torch-2.10.0"
    machine.has_no_gpu()
    complete = machine.home / "gpu/envs/torch-2.14.1/complete"
    began = complete.stat().st_mtime_ns
    assert "installing" not in machine.ready("machine")
    assert machine.env.readlink().name == "torch-2.14.1"
    assert began <= complete.stat().st_mtime_ns


def test_somebodys_own_environment_is_left_alone_while_it_is_of_use(machine: Grounds) -> None:
    link, theirs = machine.env.readlink(), machine.home / "theirs"
    machine.env.unlink()
    theirs.symlink_to(link)
    machine.env.symlink_to(theirs)
    before = grounds.listing(link)
    assert f"your own ({link})" in machine.ready("server")
    assert grounds.listing(link) == before
    assert machine.env.readlink() == theirs
    theirs.unlink()
    assert machine.wrong("server", "--check") == ["environment", "weights"]
    machine.ready("server")
    assert machine.env.readlink() == link
    [kept] = (machine.home / "gpu").glob("env.before-*")
    assert kept.readlink() == theirs
    kept.unlink()


def test_one_at_a_time_and_an_interrupted_one_goes_on(machine: Grounds) -> None:
    """Ctrl-C in the middle of a step: nothing of it is left running, and the next one finishes."""
    machine.env.unlink()
    (machine.home / "gpu/envs/torch-2.14.1/complete").unlink()
    pip = machine.home / "gpu/envs/torch-2.14.1/bin/python"
    real = pip.readlink()
    pip.unlink()
    slow = machine.root / "slow"
    pip.write_text(f'#!/bin/sh\ncase "$*" in *install*) echo $$ >{slow}; exec sleep 300 ;; esac\nexec {real} "$@"\n')
    pip.chmod(0o755)
    first = _start(machine)
    _eventually(lambda: slow.exists() and slow.read_text().strip())
    child = int(slow.read_text())
    left = machine.write("home/gpu/provision/tmp/pip-unpack-x/torch.whl", "what an interrupted pip has unpacked")
    second = _start(machine)
    assert second.stdout
    assert "waiting for its end" in second.stdout.readline()
    pip.unlink()
    pip.symlink_to(real)
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130
    _eventually(lambda: not Path(f"/proc/{child}").exists())
    said, _ = second.communicate(timeout=120)
    assert second.returncode == 0, said
    assert said.splitlines()[-1].startswith("ready")
    assert [*left.parents[1].iterdir()] == []
    first.communicate()


@pytest.mark.slow
def test_a_reader_that_went_away_ends_it(machine: Grounds) -> None:
    """As when the laptop is closed: within a sign of life."""
    script = machine.root / "ami/provision.sh"
    text = script.read_text()
    script.write_text(text.replace("BEAT=10 ", "BEAT=1 "))
    (machine.home / "gpu/envs/torch-2.14.1/complete").unlink()
    pip = machine.home / "gpu/envs/torch-2.14.1/bin/python"
    real = pip.readlink()
    pip.unlink()
    slow = machine.root / "slow"
    slow.unlink(missing_ok=True)
    pip.write_text(f'#!/bin/sh\ncase "$*" in *install*) echo $$ >{slow}; exec sleep 300 ;; esac\nexec {real} "$@"\n')
    pip.chmod(0o755)
    process = _start(machine)
    try:
        _eventually(lambda: slow.exists() and slow.read_text().strip())
        assert process.stdout
        process.stdout.close()
        assert process.wait(30) in (141, -signal.SIGPIPE)
        _eventually(lambda: not Path(f"/proc/{slow.read_text().strip()}").exists())
    finally:
        pip.unlink()
        pip.symlink_to(real)
        script.write_text(text)
    machine.ready("server")


def _start(machine: Grounds) -> subprocess.Popen[str]:
    return subprocess.Popen(
        machine.argv("server"),
        env=machine.environment("server"),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _eventually(fact: Callable[[], object], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a user of its own")
def test_nothing_outside_the_home_folder_is_written(machine: Grounds) -> None:
    """By a user who owns nothing elsewhere: whatever this and the other tests have made on this computer is theirs."""
    (machine.root / "done").unlink(missing_ok=True)
    (machine.home / "gpu/envs/torch-2.14.1/complete").unlink()
    within = grounds.listing(machine.root)
    machine.ready("server")
    changed = {path for path, facts in grounds.listing(machine.root).items() if within.get(path) != facts}
    assert [path for path in changed if not path.startswith(str(machine.home))] == []
    assert machine.done() == []
    places = ["/tmp", "/var/tmp", "/dev/shm", "/run", "/var/lib", "/var/cache", "/home", "/root", "/usr/local"]
    outside = ["-xdev", "-path", str(machine.root), "-prune", "-o", "-user", str(grounds.STRANGER), "-print"]
    theirs = subprocess.run(["find", *places, "-maxdepth", "3", *outside], capture_output=True, text=True)
    assert theirs.stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "server [--requirements FILE]"),
        (("desktop",), "server [--requirements FILE]"),
        (("server", "--all"), "it does not know: --all"),
        (("server", "--requirements", "/nowhere"), "--requirements takes a file"),
        (("server", "--user", "ubuntu"), "--user NAME is for a machine"),
    ],
)
def test_wrong_words_are_refused(words: tuple[str, ...], said: str) -> None:
    script = str(grounds.FOLDER / "provision.sh")
    done = subprocess.run(["bash", script, *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert said in done.stdout + done.stderr


def test_the_script_has_no_fault_that_shellcheck_knows() -> None:
    script = str(grounds.FOLDER / "provision.sh")
    try:
        done = subprocess.run(["shellcheck", script], capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("shellcheck is not here")
    assert done.stdout == ""


def test_packages_come_from_where_the_machine_says() -> None:
    """Whoever has a mirror has it in the configuration of apt and pip; the script names weights alone."""
    text = (grounds.FOLDER / "provision.sh").read_text()
    assert set(re.findall(r"https?://([^/\s]+)", text)) == {"download.pytorch.org"}


def test_what_the_stand_ins_say_is_what_the_table_names() -> None:
    """A new torch in the table needs its stand-in here."""
    table = (grounds.FOLDER / "environments.yaml").read_text()
    for version in shelf.FLAGS:
        assert f"{{torch: {version}," in table
