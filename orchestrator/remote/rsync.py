"""Large files that changed in part: the system's rsync over the same SSH, into the staging folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..providers.base import Address
from .link import ssh_words
from .tree import FILE, Manifest

# A smaller file is there before rsync has introduced itself.
LARGE = 4 << 20
STALLED_SECONDS = 15
_PROGRESS = re.compile(rb"\s*([\d,.]+)\s+\d+%")


@dataclass(frozen=True)
class Places:
    """`staging` and `target` are the machine's, absolute."""

    source: bytes
    staging: str
    target: str


def worth_it(names: Iterable[bytes], wanted: Manifest, published: Manifest) -> list[bytes]:
    """The large files of which the machine has another version; none where rsync is missing here."""
    if shutil.which("rsync") is None:
        return []
    return [
        name
        for name in names
        if (old := published.get(name)) and old.kind == FILE and min(old.size, wanted[name].size) >= LARGE
    ]


def send(address: Address, places: Places, names: Iterable[bytes], told: Callable[[int], None]) -> None:
    """Send differences; `told` hears of bytes, and often. Whatever comes of it is for the machine's end to check."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    argv: list[str | bytes] = [
        "rsync",
        f"--rsh={_shell(address)}",
        "--times",
        "--ignore-times",
        "--no-whole-file",
        "--protect-args",
    ]
    argv += ["--files-from=-", "--from0", f"--compare-dest={places.target}", "--no-implied-dirs", "--relative"]
    argv += ["--info=progress2", "--no-inc-recursive", f"--timeout={STALLED_SECONDS}"]
    argv += ["--", places.source + b"/", f"{host}:{places.staging}/"]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        _feed(process, b"\0".join(names))
        _report(process, told)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _feed(process: subprocess.Popen[bytes], names: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(names)
        process.stdin.close()
    except BrokenPipeError:
        return


def _report(process: subprocess.Popen[bytes], told: Callable[[int], None]) -> None:
    rest, before = b"", 0
    while process.stdout and (piece := os.read(process.stdout.fileno(), 1 << 16)):
        *lines, rest = re.split(rb"[\r\n]", rest + piece)
        for line in lines:
            if match := _PROGRESS.match(line):
                done = int(re.sub(rb"\D", b"", match[1]))
                told(done - before)
                before = done
    process.wait()


def _shell(address: Address) -> str:
    """ssh and its options as one word that rsync splits at spaces outside its own quotes."""
    return " ".join("'" + word.replace("'", "''") + "'" for word in ssh_words(address))
