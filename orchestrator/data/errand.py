"""`python -m orchestrator.data.errand fetch|list`, on the machine, in the folder that this code was sent to.

It answers with a line of JSON for each thing that it has to tell, and goes on when nobody listens any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from trainer.run_folder import MachineFolder

from ..errors import GpuError
from ..reporter import Progress
from .download import cached
from .fetch import Place, fetch
from .known import Known
from .layout import Counts, DataSet, checked_name, names

LINE, PROGRESS, DONE, ERROR = "line", "progress", "done", "error"
_LOOK_SECONDS = 0.3
_TELL_SECONDS = 0.5


class Teller:
    """A reporter whose words go to a log, and to whoever has asked, as long as there is one."""

    def __init__(self, log: IO[str]) -> None:
        self._outputs = [log, sys.stdout]

    def tell(self, kind: str, content: Any) -> None:
        for output in tuple(self._outputs):
            try:
                output.write(json.dumps({kind: content}) + "\n")
                output.flush()
            except OSError:
                self._outputs.remove(output)

    def line(self, text: str) -> None:
        self.tell(LINE, text)

    @contextmanager
    def progress(self, title: str, total: float | None = None, unit: str = "") -> Iterator[Progress]:
        yield _Bar(self, {"title": title, "unit": unit}, total)

    def confirm(self, question: str) -> bool:
        del question
        return False


class _Bar:
    def __init__(self, teller: Teller, facts: dict[str, Any], total: float | None) -> None:
        self._teller, self._facts, self._total, self._told = teller, facts, total, 0.0

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        self._total = self._total if total is None else total
        now = time.monotonic()
        if now - self._told > _TELL_SECONDS or done == self._total:
            self._told = now
            self._teller.tell(PROGRESS, {**self._facts, "done": done, "total": self._total, "note": note})


def main(argv: list[str]) -> int:
    folder = MachineFolder(os.environ.get("HOME") or str(Path.home()))
    root = Path(folder.root) / "data"
    if argv[0] == "list":
        found = {name: asdict(DataSet(root, name).counts()) for name in names(root)}
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    wish = json.loads(sys.stdin.buffer.read())
    place = Place(root, checked_name(wish["name"]), Path(folder.cache), wish["seed"])
    # Whoever has asked may go away: what has been begun is finished.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    root.mkdir(parents=True, exist_ok=True)
    log = root / f".{place.name}.fetch.log"
    with _alone(root / f".{place.name}.fetch.lock", log), log.open("w") as stream:
        return _fetch(Known.of(wish["known"]), place, Teller(stream))


def _fetch(known: Known, place: Place, teller: Teller) -> int:
    try:
        counts = fetch(known, place, teller)
        for source in known.sources:
            # The disk of a machine is paid for, and the archive is soon there again.
            cached(source, place.cache).unlink(missing_ok=True)
    except GpuError as error:
        teller.tell(ERROR, {"what": error.what, "remedy": error.remedy})
        return 1
    teller.tell(DONE, asdict(counts))
    return 0


@contextmanager
def _alone(lock: Path, log: Path) -> Iterator[None]:
    """One at a time: while another fetches the same, what it tells is told here too."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    told = 0
    try:
        while not _take(descriptor):
            told = _repeat(log, told)
            time.sleep(_LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _repeat(log: Path, told: int) -> int:
    """Tell the whole lines of the log from byte `told` on; how far it has been told now. BrokenPipeError ends us."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as stream:
        stream.seek(told)
        lines = stream.read().rpartition(b"\n")[0]
        wanted = [line for line in lines.splitlines() if line.startswith((b'{"line"', b'{"progress"'))]
        sys.stdout.write("".join(line.decode(errors="replace") + "\n" for line in wanted))
        sys.stdout.flush()
        return told + len(lines) + (1 if lines else 0)
    return told


def counts_of(document: Any) -> Counts:
    """What `list` and `done` tell, checked: it comes from another machine. ValueError where it is no such thing."""
    try:
        train, valid = ({str(k): int(v) for k, v in document[half].items()} for half in ("train", "valid"))
        return Counts(train, valid, test=int(document["test"]), quarantined=int(document["quarantined"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no counts of a data set: {error!r}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
