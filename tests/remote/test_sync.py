from __future__ import annotations

import dataclasses
import hashlib
import os
import socket
import subprocess
import threading
from pathlib import Path, PurePosixPath

import pytest

from orchestrator.cli.terminal import Terminal
from orchestrator.errors import GpuError, ToolMissing
from orchestrator.remote import link, sync
from trainer import run_folder

from .conftest import Machine, eventually

NAMES = [
    b"plain.jpg",
    b"a space.jpg",
    b'it\'s "quoted".jpg',
    b"two\nlines",
    b"-rf",
    b"--delete",
    b"\xff\xfe not utf-8",
    "ünï.jpg".encode(),
    b"$(touch x)",
    b"back\\slash",
    b"*",
    b"a:b",
    b"[x]",
]
TARGET = PurePosixPath("gpu/data/pets")


class Steps:
    def __init__(self) -> None:
        self.seen: list[tuple[float, float | None]] = []

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        del note
        self.seen.append((done, total))


def content(folder: Path) -> dict[bytes, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {os.fsencode(file.relative_to(folder)): file.read_bytes() for file in files}


def hostile(folder: Path) -> Path:
    for number, name in enumerate(NAMES):
        inner = folder / "train" / os.fsdecode(name)
        inner.mkdir(parents=True)
        (inner / os.fsdecode(name)).write_bytes(bytes([number]) * (number + 1))
    return folder


def push(machine: Machine, source: Path) -> None:
    sync.push(machine.address, source, TARGET, Steps())


def test_hostile_names_go_and_come_home_byte_for_byte(machine: Machine, tmp_path: Path) -> None:
    source = hostile(tmp_path / "pets")
    push(machine, source)
    assert content(machine.home / TARGET) == content(source)
    sync.pull(machine.address, TARGET, tmp_path / "back", Steps())
    assert content(tmp_path / "back") == content(source)
    assert not (machine.home / "x").exists()


def test_a_second_push_sends_changes_and_takes_away_what_is_gone(machine: Machine, tmp_path: Path) -> None:
    source = hostile(tmp_path / "pets")
    push(machine, source)
    (source / "train/plain.jpg/plain.jpg").unlink()
    (source / "train/new.jpg").write_bytes(b"new")
    push(machine, source)
    assert content(machine.home / TARGET) == content(source)


def test_the_quarantine_stays_at_home(machine: Machine, tmp_path: Path) -> None:
    source = hostile(tmp_path / "pets")
    (source / ".quarantine").mkdir()
    (source / ".quarantine/bad.jpg").symlink_to("/etc/passwd")
    push(machine, source)
    assert not (machine.home / TARGET / ".quarantine").exists()


def test_a_link_inside_the_folder_is_sent_as_one(machine: Machine, tmp_path: Path) -> None:
    source = hostile(tmp_path / "pets")
    (source / "again").symlink_to("train")
    push(machine, source)
    assert (machine.home / TARGET / "again").readlink() == Path("train")


def test_progress_ends_at_the_total(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "pets"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(3_000_000))
    steps = Steps()
    sync.push(machine.address, source, TARGET, steps)
    assert steps.seen[-1] == (3_000_000, 3_000_000)
    assert any(done and total for done, total in steps.seen[:-1])


def test_what_is_there_already_is_not_counted_as_sent(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither at once, nor where only something was to be removed, nor on the way home."""
    source = hostile(tmp_path / "pets")
    push(machine, source)
    capsys.readouterr()
    with Terminal().progress("sending pets", unit="B") as bar:
        sync.push(machine.address, source, TARGET, bar)
    (source / "train/plain.jpg/plain.jpg").unlink()
    with Terminal().progress("sending less", unit="B") as bar:
        sync.push(machine.address, source, TARGET, bar)
    with Terminal().progress("bringing it home", unit="B") as bar:
        sync.pull(machine.address, TARGET, source, bar)
    there = "it is there already\n"
    assert capsys.readouterr().err == f"sending pets: {there}sending less: {there}bringing it home: {there}"


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "../../etc", "a-loop"])
def test_links_out_of_the_folder_are_refused_by_name(machine: Machine, tmp_path: Path, target: str) -> None:
    source = hostile(tmp_path / "pets")
    (source / "a-loop").symlink_to(target)
    with_name = "a-loop is a link out of the folder"
    if target == "a-loop":
        push(machine, source)  # leads nowhere, and so not out of the folder
        return
    with pytest.raises(GpuError, match=with_name):
        push(machine, source)
    assert not (machine.home / TARGET).exists()


def test_a_fifo_and_a_socket_are_refused_by_name(machine: Machine, tmp_path: Path, monkeypatch) -> None:
    source = hostile(tmp_path / "pets")
    os.mkfifo(source / "pipe")
    with pytest.raises(GpuError, match="pipe is a FIFO"):
        push(machine, source)
    (source / "pipe").unlink()
    monkeypatch.chdir(source)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("plug")
        with pytest.raises(GpuError, match="plug is a socket"):
            push(machine, source)
    assert not (machine.home / TARGET).exists()


def test_a_folder_that_is_not_there(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(GpuError, match="there is no folder"):
        push(machine, tmp_path / "none")


def test_what_is_no_file_on_the_machine_does_not_come_home(machine: Machine, tmp_path: Path) -> None:
    there = machine.home / TARGET
    there.mkdir(parents=True)
    (there / "link").symlink_to("/etc/passwd")
    os.mkfifo(there / "pipe")
    (there / "file").write_text("content")
    sync.pull(machine.address, TARGET, tmp_path / "back", Steps())
    assert content(tmp_path / "back") == {b"file": b"content"}


def test_a_folder_that_is_not_on_the_machine(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(GpuError, match="No such file"):
        sync.pull(machine.address, PurePosixPath("gpu/none"), tmp_path / "back", Steps())


def test_an_unknown_host_gets_nothing(machine: Machine, tmp_path: Path) -> None:
    empty = tmp_path / "known"
    empty.write_text("")
    with pytest.raises(GpuError, match="Host key verification failed"):
        sync.push(dataclasses.replace(machine.address, known_hosts=empty), hostile(tmp_path / "pets"), TARGET, Steps())
    assert not (machine.home / TARGET).exists()


def test_ssh_missing_at_home(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="ssh is not installed on this computer"):
        push(machine, hostile(tmp_path / "pets"))


def cut_when_under_way(machine: Machine, there: Path) -> None:
    """As soon as the file has begun to arrive."""
    part = there.with_name(f".{there.name}.part") / "tree/big"
    eventually(lambda: part.exists() and part.stat().st_size > 2_000_000, 60)
    machine.cut()


def test_a_cut_copy_goes_on_where_it_was(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "pets"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(60_000_000))

    there = machine.home / TARGET
    cutter = threading.Thread(target=cut_when_under_way, args=(machine, there))
    cutter.start()
    copied = sync.push(machine.address, source, TARGET, Steps())
    cutter.join()
    assert copied.bytes < 58_000_000
    assert content(machine.home / TARGET) == content(source)


def test_ctrl_c_ends_the_copy_and_is_passed_on(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "pets"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(5_000_000))

    class Interrupt:
        def update(self, done: float, total: float | None = None, note: str = "") -> None:
            del done, total, note
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync.push(machine.address, source, TARGET, Interrupt())


def summed(folder: Path, names: list[bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = b""
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(name)
        plain = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
        lines += (b"\\" if plain != name else b"") + hashlib.sha256(name).hexdigest().encode() + b"  " + plain + b"\n"
    (folder / run_folder.SUMS).write_bytes(lines)
    return folder


def test_verify_agrees_with_hostile_names(tmp_path: Path) -> None:
    assert sync.verify(summed(tmp_path / "run", NAMES)) == []


def test_verify_names_a_flipped_byte_and_a_missing_file(tmp_path: Path) -> None:
    folder = summed(tmp_path / "run", [b"a", b"b", b"c"])
    (folder / "a").write_bytes(b"A")
    (folder / "b").unlink()
    assert sync.verify(folder) == ["a", "b"]


def test_verify_takes_no_link_for_a_file(tmp_path: Path) -> None:
    folder = summed(tmp_path / "run", [b"a"])
    (folder / "a").rename(tmp_path / "a")
    (folder / "a").symlink_to(tmp_path / "a")
    assert sync.verify(folder) == ["a"]


def test_without_sums_nothing_is_verified(tmp_path: Path) -> None:
    assert sync.verify(tmp_path) == [run_folder.SUMS]


@pytest.mark.parametrize("name", [b"../outside", b"/etc/passwd", b"a/../../b"])
def test_sums_that_climb_out_are_refused(tmp_path: Path, name: bytes) -> None:
    (tmp_path / run_folder.SUMS).write_bytes(hashlib.sha256(b"").hexdigest().encode() + b"  " + name + b"\n")
    with pytest.raises(GpuError, match="outside its folder"):
        sync.verify(tmp_path)


@pytest.mark.parametrize("text", [b"", b"garbage\n", b"0" * 64 + b"  cut"])
def test_sums_that_prove_nothing_are_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / run_folder.SUMS).write_bytes(text)
    with pytest.raises(GpuError):
        sync.verify(tmp_path)


def test_verified_is_written_whole(tmp_path: Path) -> None:
    folder = summed(tmp_path / "run", [b"a"])
    sync.mark_verified(folder)
    assert '"a"' in (folder / run_folder.VERIFIED).read_text()
    assert not list(folder.glob("*.new"))


@pytest.mark.parametrize("arrived", [0, 1, 40, -1])
def test_a_link_that_is_cut_at_its_beginning_leaves_no_far_end(arrived: int, tmp_path: Path) -> None:
    """Before the first byte, in the first line, just before its end."""
    whole = link._far_end().partition(b"\n")[0]
    argv = ["sh", "-c", link.far_script()]
    ended = subprocess.run(argv, input=whole[:arrived], cwd=tmp_path, capture_output=True, timeout=20, check=False)
    assert ended.stdout == b""
