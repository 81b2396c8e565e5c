"""Folders to the machine and home again, through the system's rsync over the same checked SSH."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from trainer import run_folder

from ..errors import GpuError, ToolMissing
from ..providers.base import Address
from ..reporter import Progress
from .openssh import ssh_argv
from .sums import mark_verified, verify

__all__ = ["mark_verified", "pull", "push", "refuse_strangers", "verify"]

PARTIAL = ".rsync-partial"
STALLED_SECONDS = 60
_PROGRESS = re.compile(rb"\s*([\d,.]+)\s+(\d+)%")
# No owner, no modes: whose a file is at one end says nothing at the other.
COMMON = (
    "--recursive",
    "--times",
    f"--partial-dir={PARTIAL}",
    "--protect-args",
    "--info=progress2",
    "--no-inc-recursive",
    f"--timeout={STALLED_SECONDS}",
    f"--exclude=/{run_folder.QUARANTINE}/",
)
_MEANINGS = {
    1: "rsync does not know its options, so it is older than 3.1",
    10: "the connection broke",
    11: "a file could not be written",
    12: "the connection broke",
    20: "it was interrupted",
    23: "some files could not be sent",
    24: "some files vanished while they were sent",
    30: "the connection stood still for a minute",
    35: "the connection stood still for a minute",
    255: "SSH could not connect",
}


def push(address: Address, source: Path, target: PurePosixPath, progress: Progress) -> None:
    """Make the machine's folder `target` (from its home folder) the same as `source`: what is gone here goes there.

    GpuError names a link out of the folder, a device, a FIFO or a socket before anything is sent.
    """
    total = refuse_strangers(source)
    make_parent = f"mkdir -p {shlex.quote(str(target))} && rsync"
    argv = [*COMMON, "--links", "--delete", f"--rsync-path={make_parent}"]
    _rsync(address, [*argv, "--", f"{source.absolute()}/", _remote(address, target)], progress)
    progress.update(total, total)


def pull(address: Address, source: PurePosixPath, target: Path, progress: Progress) -> None:
    """Bring the machine's folder `source` home; links, devices and the like are left there."""
    if target.is_symlink():
        raise GpuError(f"{target} is a link, and what comes home would go elsewhere", "Move it away")
    target.mkdir(parents=True, exist_ok=True)
    argv = [*COMMON, "--no-links", "--no-devices", "--no-specials", "--", _remote(address, source)]
    _rsync(address, [*argv, f"{target.absolute()}/"], progress)


def refuse_strangers(folder: Path) -> int:
    """The bytes of all files in `folder`; GpuError names the first that is neither a file nor a folder of its own."""
    if not folder.is_dir():
        raise GpuError(f"there is no folder {folder}", "Make it with: gpu data prepare")
    root = os.fsencode(folder.resolve())
    return sum(_size(entry, root) for entry in _walk(root) if not entry.is_dir(follow_symlinks=False))


def _walk(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if here == folder and entry.name == run_folder.QUARANTINE.encode():
                        continue
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError as error:
            raise GpuError(f"{_shown(here)} cannot be read: {error.strerror}", "Check its mode and owner") from error


def _size(entry: os.DirEntry[bytes], root: bytes) -> int:
    found = entry.stat(follow_symlinks=False)
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    if not stat.S_ISLNK(found.st_mode):
        raise GpuError(f"{_shown(entry.path)} is a {_kind(found.st_mode)}, which cannot be sent", "Move it away")
    points_to = os.fsencode(Path(os.fsdecode(entry.path)).readlink())
    # An absolute link means another file on the machine, even one that stays inside here.
    inside = os.path.realpath(entry.path).startswith(root + b"/")
    if points_to.startswith(b"/") or not inside:
        raise GpuError(
            f"{_shown(entry.path)} is a link out of the folder, to {_shown(points_to)}",
            "Put the file itself in its place",
        )
    return 0


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFBLK: "device", stat.S_IFCHR: "device"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def _shown(name: bytes) -> str:
    """A name as one can show it: quotes and control characters are written out."""
    return repr(os.fsdecode(name))[1:-1]


def _remote(address: Address, folder: PurePosixPath) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{folder}/"


def _shell(address: Address) -> str:
    """The ssh of `ssh_argv` without its host, as one word that rsync splits at spaces outside its own quotes."""
    argv = ssh_argv(address)
    words = argv[: argv.index("--", 1)]
    return " ".join("'" + word.replace("'", "''") + "'" for word in words)


def _rsync(address: Address, words: Sequence[str], progress: Progress) -> None:
    """Run it to its end; Ctrl-C ends it too. A partial file stays, and the next call goes on from it."""
    argv = ["rsync", f"--rsh={_shell(address)}", *words]
    with tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise ToolMissing("rsync", "on this computer", "Install it: apt-get install rsync") from error
        with _ended(process):
            _report(process, progress)
            code = process.wait()
        if code:
            stderr.seek(0)
            raise _failure(address, code, stderr.read().decode(errors="replace"))


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout:
            process.stdout.close()


def _report(process: subprocess.Popen[bytes], progress: Progress) -> None:
    rest = b""
    while process.stdout and (piece := os.read(process.stdout.fileno(), 1 << 16)):
        *lines, rest = re.split(rb"[\r\n]", rest + piece)
        for line in lines:
            if match := _PROGRESS.match(line):
                done, percent = int(re.sub(rb"\D", b"", match[1])), int(match[2])
                progress.update(done, done * 100 / percent if percent else None)


def _failure(address: Address, code: int, stderr: str) -> GpuError:
    host = address.host
    words = " | ".join(line.strip() for line in stderr.strip().splitlines()[:3])[:500]
    if "No space left on device" in stderr:
        return GpuError(f"the disk is full at one end of the copy between here and {host}: {words}", "Make room there")
    if code == 127 or "rsync: command not found" in stderr or "rsync: not found" in stderr:
        return ToolMissing("rsync", f"on {host}", "Install it there: gpu ssh -- sudo apt-get install -y rsync")
    meaning = _MEANINGS.get(code, f"rsync ended with code {code}")
    remedy = (
        "Do it again: it goes on where it was" if code in (10, 12, 20, 24, 30, 35, 255) else "Mend that, then again"
    )
    return GpuError(f"copying between here and {host} failed: {meaning}" + (f" ({words})" if words else ""), remedy)
