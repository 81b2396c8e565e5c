"""Several `gpu` at the same moment."""

from __future__ import annotations

import subprocess

from .census import MACHINE, NETWORK
from .conftest import Person


def ended(processes: list[subprocess.Popen[str]]) -> list[str]:
    told = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, f"{process.args}\n{out}\n{err}"
        told.append(out)
    return told


def test_starts_at_once_make_one_machine_of_each_kind(person: Person) -> None:
    first, second, _ = ended([person.start("start", "-k", kind) for kind in ("t2", "t2", "p2")])
    assert first == second
    assert person.census().ours == {**dict.fromkeys(MACHINE, 2), **NETWORK}
    ended([person.start("destroy") for _ in "ab"])
    person.clean()
