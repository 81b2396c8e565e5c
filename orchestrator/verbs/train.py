"""`gpu train`: a data set goes to the machine, a job runs in tmux there, and its results come home."""

from __future__ import annotations

import getpass
import json
import math
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

from trainer import run_folder

from ..errors import GpuError, MachineStopped, UsageError, nearest
from ..remote import dispatch, jobs, sync
from ..remote.job import Job
from ..remote.ssh import Connection
from . import holdings, own, resumption, runs, spending
from .arrival import arrive
from .desk import Desk

DEFAULT_MODEL = "efficientnet_lite0"
TAKEN = ("--data", "--out", "--cache", "--model", "--price-per-hour", "--resume")
"""Options of the trainer that a run of `gpu` is made with."""


@dataclass(frozen=True)
class Request:
    """What is asked of one run."""

    data: str
    model: str = DEFAULT_MODEL
    epochs: int | None = None
    sample: bool = False
    note: str = ""
    budget: float | None = None
    """US dollars after which the machine ends it, checkpoint first."""
    queue: bool = False
    """Wait on the machine for its turn, instead of being refused while another run has it."""
    checksum: bool = False
    """Read every byte of the data set again at both ends, instead of trusting sizes and times."""
    gpu: int | None = None
    """The number of the GPU there; None: as the profile says, or one that nobody uses."""
    options: tuple[str, ...] = ()
    """Given to the trainer as they are."""


@dataclass(frozen=True)
class Trained:
    """What came home. `accuracy` and `log_loss` are the validation images'."""

    run_id: str
    accuracy: float
    log_loss: float
    weights: Path
    submission: Path | None
    """None where the data set has no test images."""
    report: Path


def launch(desk: Desk, request: Request, begins: Callable[[str], None]) -> str:
    """Start the machine where needed, send data and code, start the run; returns its id.

    `begins` hears of the id just before the run begins: from then on an interrupted caller leaves a run behind.
    """
    at_home = check(desk, request)
    with arrive(desk) as arrival:
        connection = arrival.connection
        if request.budget is not None:
            # One that cannot be kept is refused before anything is sent.
            spending.terms(arrival.state(), request.budget)
        readiness = jobs.ready(connection)
        runs.refuse_second(readiness.busy, queue=request.queue)
        gpu = own.take_gpu(desk, connection, request.gpu, request.options, queue=request.queue)
        if at_home:
            _send_data(desk, connection, request)
        else:
            holdings.check_there(desk, request.data, readiness.data)
        terms = spending.terms(arrival.state(), request.budget) | gpu
        run_id = prepare_home(desk, dispatch.code_digest(), request, terms)
        begins(run_id)
        _start(desk, connection, run_id)
    return run_id


def check(desk: Desk, request: Request) -> bool:
    """Everything that can be wrong with the wish, found before a machine is started or paid for; whether the data set
    is at home, and not on the machine alone."""
    spending.check(request.budget)
    known = resources.files("trainer").joinpath("models.txt").read_text().split()
    if request.model not in known:
        raise UsageError(
            f"there is no model {request.model}", nearest(request.model, known) or "See torchvision's list"
        )
    if request.epochs is not None and request.epochs < 1:
        raise UsageError(f"--epochs {request.epochs} trains nothing", "Give 1 or more")
    for word in request.options:
        _check_option(word)
    return holdings.find(desk, request.data) is not None


def _check_option(word: str) -> None:
    """The trainer's own options are the user's; those that `gpu train` gives it itself would lead it elsewhere. It
    takes their beginnings, too."""
    name = word.partition("=")[0]
    if name in ("-h", "--help"):
        raise UsageError(f"with {name} the trainer trains nothing", "The README has its options")
    taken = next((own for own in TAKEN if name.startswith("--") and len(name) > 2 and own.startswith(name)), None)
    if taken:
        remedy = "Give gpu's own --model, before the --" if taken == "--model" else "Leave it out"
        raise UsageError(f"{taken} is what `gpu train` gives the trainer itself", remedy)


def _send_data(desk: Desk, connection: Connection, request: Request) -> None:
    name = request.data
    with desk.reporter.progress(f"sending {name}", unit="B") as bar:
        target = run_folder.MachineFolder().data(name)
        sync.push(connection.address, desk.data / name, target, bar, checksum=request.checksum)
    holdings.Memory(desk).add(name)


def prepare_home(desk: Desk, digest: str, request: Request, facts: Mapping[str, Any]) -> str:
    """The run's folder at home, with its `job.json`, and its line in the ledger; returns its id."""
    run_id = run_folder.new_run_id(request.data)
    home = desk.runs / run_id
    home.mkdir(parents=True)
    (home / run_folder.JOB).write_text(json.dumps(make_job(run_id, digest, request, facts), indent=1) + "\n")
    desk.ledger.add(run_id, kind=desk.kind, runs=desk.runs)
    return run_id


def _start(desk: Desk, connection: Connection, run_id: str) -> None:
    job = json.loads((desk.runs / run_id / run_folder.JOB).read_text())
    _, warning = jobs.start_run(connection, run_id, job)
    if warning:
        desk.reporter.line(warning)
    # Again: a `gpu pull` at this very moment takes a run that has not begun for one that never will.
    desk.ledger.add(run_id, kind=desk.kind, runs=desk.runs)
    desk.reporter.line(f"run {run_id}")


def make_job(run_id: str, digest: str, request: Request, facts: Mapping[str, Any]) -> dict[str, Any]:
    """`job.json`: the command with its paths relative to the machine's home folder, who asked for it, and `facts`."""
    folder = run_folder.MachineFolder()
    argv = ["--data", f"~/{folder.data(request.data)}", "--out", f"~/{folder.run(run_id)}"]
    argv += ["--cache", f"~/{folder.cache}", "--model", request.model]
    if request.epochs is not None:
        argv += ["--epochs", str(request.epochs)]
    if request.sample:
        argv.append("--sample")
    if facts.get("price_per_hour") is not None:
        argv += ["--price-per-hour", str(facts["price_per_hour"])]
    return {
        "run_id": run_id,
        "data": request.data,
        "model": request.model,
        "sample": request.sample,
        "note": request.note,
        "command": [f"~/{folder.python}", "-m", "trainer", *argv, *request.options],
        "queue": request.queue,
        **facts,
        "code": digest,
        "asked_by": f"{getpass.getuser()}@{socket.gethostname()}",
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def finish(desk: Desk, run_id: str, show_log: Callable[[bytes], None], ends: Callable[[], None]) -> Trained:
    """Follow a run to its end, bring it home and read its result; one that EC2 interrupts goes on by itself.

    `ends` is called when it has ended: from then on an interrupted caller leaves no run behind, but its results.
    """
    with runs.named(run_id):
        state = _to_its_end(desk, run_id, show_log)
        ends()
        runs.bring_home(desk, run_id, state)
    if state.state == "interrupted" and state.why == spending.BUDGET:
        raise spending.BudgetSpent(run_id, _budget(desk.runs / run_id))
    runs.raise_if_failed(desk, run_id, state)
    return result(desk.runs / run_id)


def _to_its_end(desk: Desk, run_id: str, show_log: Callable[[bytes], None]) -> Job:
    while True:
        launched = resumption.launched(desk.runs / run_id)
        ended: Job | None = None
        try:
            ended = runs.follow(desk, run_id, show_log)
        except MachineStopped:
            if not resumption.is_taken(desk, None):
                raise
        if ended is not None and not resumption.is_taken(desk, ended):
            return ended
        resumption.wait_until_back(desk, launched)
        resumption.go_on(desk, run_id)


def _budget(folder: Path) -> float:
    return float(json.loads((folder / run_folder.JOB).read_text())["budget"])


def result(folder: Path) -> Trained:
    """Read a verified run's `result.json`; what is in it came from another machine and is checked."""
    try:
        document = json.loads((folder / run_folder.RESULT).read_text())
        accuracy, log_loss = float(document["accuracy"]), float(document["log_loss"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GpuError(f"{folder / run_folder.RESULT} does not hold a result: {error!r}", "Train again") from error
    if not (0 <= accuracy <= 1 and math.isfinite(log_loss)):
        raise GpuError(f"{folder / run_folder.RESULT} holds an impossible result", "Train again")
    submission = folder / run_folder.SUBMISSION
    return Trained(
        run_id=folder.name,
        accuracy=accuracy,
        log_loss=log_loss,
        weights=folder / run_folder.WEIGHTS,
        submission=submission if submission.exists() else None,
        report=folder / run_folder.REPORT,
    )
