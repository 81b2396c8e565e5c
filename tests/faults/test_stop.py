"""What `gpu stop` may not be kept from, and what it says first."""

from __future__ import annotations

import resource
import subprocess

from trainer.run_folder import new_run_id

from .conftest import Person

START = ("start", "-k", "t2")


def on_a_full_disk(person: Person, *words: str) -> subprocess.CompletedProcess[str]:
    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    process = person.start(*words, preexec_fn=fill)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def test_a_full_disk_keeps_no_machine_running(person: Person) -> None:
    person.gpu(*START)
    running, ended = new_run_id("dogs"), new_run_id("cats")
    person.gpu("ssh", "--", f"mkdir -p gpu/runs/{running} gpu/runs/{ended} && echo 0 >gpu/runs/{ended}/exit_code")
    person.gpu("ssh", "--", f"setsid flock gpu/runs/{running}/lock sleep 600 >/dev/null 2>&1 </dev/null &")
    done = on_a_full_disk(person, "stop")
    assert done.returncode == 0 and "is not forgotten" in done.stderr, done
    assert f"{running} is running and is ended" in done.stderr and f"gpu train --resume {running}" in done.stderr
    assert f"kept on its disk: {ended};" in done.stderr
    assert person.json("status")["phase"] == "stopped"
    lock = person.state_file.with_suffix(".lock")
    lock.unlink()
    lock.mkdir()
    done = on_a_full_disk(person, "stop")
    assert done.returncode == 0 and "without a lock" in done.stderr, done
    lock.rmdir()
    person.clean()
