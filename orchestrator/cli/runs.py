"""`gpu train jobs logs attach cancel pull`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from ..errors import MachineStopped
from ..remote.job import Job
from ..verbs import resumption, runs, train
from ..verbs.desk import Desk
from ..verbs.spending import BudgetSpent
from .options import Given, Group, command
from .terminal import print_json, show_log


def register(gpu: Group) -> None:
    _register_train(gpu)

    @command(gpu, "jobs")
    def jobs(given: Given) -> None:
        """Every run on the machine and how it stands."""
        desk = given.desk()
        given.offer_home(desk)
        found = runs.list_jobs(desk)
        if given.json:
            print_json([job_document(job) for job in found])
        else:
            click.echo("\n".join(f"{job.run_id}  {job.describe()}" for job in found) or "no run on the machine yet")

    @command(gpu, "logs")
    @click.option("-f", "--follow", is_flag=True, help="Go on from where this computer left it, until the run ends.")
    @click.argument("run", metavar="[RUN]", required=False)
    def logs(given: Given, run: str | None, follow: bool) -> None:
        """A run's log; the newest run's without RUN."""
        desk = given.desk()
        run_id = runs.choose(desk, run)
        if not follow:
            runs.whole_log(desk, run_id, _to_stdout)
            return
        _follow(desk, run_id)

    _register_rest(gpu)


def _register_train(gpu: Group) -> None:
    @command(gpu, "train")
    @click.option("--data", metavar="NAME", help="The data set: a folder of ./data.")
    @click.option("--resume", metavar="RUN", help="Go on with a run that ended before it was done; RUN may be `last`.")
    @click.option("--model", default=train.DEFAULT_MODEL, show_default=True, help="Any torchvision classifier.")
    @click.option("--epochs", type=int, metavar="N", help="N passes with a line each, instead of fitting to the end.")
    @click.option("--sample", is_flag=True, help="Train and predict on the data set's small sample alone.")
    @click.option("--detach", is_flag=True, help="Start it and come back later.")
    @click.option("--stop", is_flag=True, help="Stop the machine when the results are home.")
    @click.option("--gpu", type=int, metavar="N", help="The GPU's number there, instead of one that nobody uses.")
    @click.option("--budget", type=float, metavar="USD", help="End it, checkpoint first, when it has cost so much.")
    @click.option("--queue", is_flag=True, help="Wait on the machine for its turn.")
    @click.option("--checksum", is_flag=True, help="Compare every byte of the data set, not sizes and times.")
    @click.option("-m", "--note", default="", help="A note for the journal.")
    @click.argument("options", nargs=-1, metavar="[-- TRAINER OPTIONS]", type=click.UNPROCESSED)
    def train_(given: Given, detach: bool, stop: bool, resume: str | None, **wish: Any) -> None:
        """Send the data set, train on the machine, bring the results home."""
        if detach and stop:
            raise click.UsageError("--stop waits for the results to come home: leave --detach out")
        if (resume is None) == (wish["data"] is None):
            raise click.UsageError("Give either --data NAME or --resume RUN.")
        if resume is not None:
            _refuse_other_wishes()
        desk = given.desk()
        given.offer_home(desk)
        course = _Course()
        try:
            if detach:
                _print_detached(given, _launch(desk, resume, wish, course))
                return
            trained = _train(desk, resume, wish, course, stop=stop)
        except KeyboardInterrupt:
            _say_left(desk, course)
            raise
        _print_trained(given, trained)


def _refuse_other_wishes() -> None:
    """An attempt more is of the same run: what was asked for then stays."""
    context = click.get_current_context()
    given = [
        option.opts[-1] if isinstance(option, click.Option) else "options after --"
        for option in context.command.params
        if option.name in ("model", "epochs", "sample", "note", "options")
        and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"--resume goes on with the run as it was asked for: leave out {', '.join(given)}.")


@dataclass
class _Course:
    """How far a run has come, for whoever is interrupted."""

    run_id: str | None = None
    over: bool = False

    def begins(self, run_id: str) -> None:
        self.run_id = run_id

    def ends(self) -> None:
        self.over = True


def _train(desk: Desk, resume: str | None, wish: dict[str, Any], course: _Course, *, stop: bool) -> train.Trained:
    try:
        return train.finish(desk, _launch(desk, resume, wish, course), show_log, course.ends)
    except BudgetSpent:
        stop = True
        raise
    except MachineStopped:
        stop = False
        raise
    finally:
        # After a failed run too: what it left came home first, and an idle machine costs the same.
        if stop:
            from ..verbs import afterwards

            afterwards.stop(desk, course.run_id)


def _launch(desk: Desk, resume: str | None, wish: dict[str, Any], course: _Course) -> str:
    if resume is None:
        return train.launch(desk, train.Request(**wish), course.begins)
    again = resumption.Again(wish["budget"], wish["queue"], wish["checksum"], wish["gpu"])
    return resumption.launch(desk, resume, again, course.begins)


def _say_left(desk: Desk, course: _Course) -> None:
    run_id = course.run_id
    if run_id and not course.over:
        desk.reporter.line(f"\n{run_id} goes on without you\n{_way_back(run_id)}")
    elif run_id in {entry.run_id for entry in desk.ledger.unfetched()}:
        desk.reporter.line(f"\n{run_id} has ended and is not home; bring it home with: gpu pull {run_id}")


def _way_back(run_id: str) -> str:
    return f"follow it with: gpu logs -f {run_id}\nbring it home with: gpu pull {run_id}"


def _print_detached(given: Given, run_id: str) -> None:
    if given.json:
        print_json({"run": run_id})
    else:
        click.echo(f"{run_id} goes on without this computer\n{_way_back(run_id)}")


def _print_trained(given: Given, trained: train.Trained) -> None:
    document = {
        "run": trained.run_id,
        "accuracy": trained.accuracy,
        "log_loss": trained.log_loss,
        "weights": str(trained.weights),
        "submission": str(trained.submission) if trained.submission else None,
        "report": str(trained.report),
    }
    if given.json:
        print_json(document)
        return
    click.echo(f"accuracy   {trained.accuracy:.2%}\nlog loss   {trained.log_loss:.4f}")
    click.echo(f"weights    {trained.weights}")
    click.echo(f"submission {trained.submission or 'none: the data set has no test images, or this was the sample'}")
    click.echo(f"report     {trained.report}")


def _follow(desk: Desk, run_id: str) -> None:
    try:
        job = runs.follow(desk, run_id, _to_stdout)
    except KeyboardInterrupt:
        desk.reporter.line(f"\nit goes on: {run_id}\n{_way_back(run_id)}")
        raise
    desk.reporter.line(f"{run_id} {job.describe()}; bring it home with: gpu pull {run_id}")


def _to_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data.replace(b"\x1b", b"^["))
    sys.stdout.buffer.flush()


def job_document(job: Job) -> dict[str, Any]:
    kept = ("state", "why", "exit_code", "data", "model", "note", "started", "last")
    return {"run": job.run_id, **{name: getattr(job, name) for name in kept}}


def _register_rest(gpu: Group) -> None:
    @command(gpu, "attach")
    @click.argument("run", metavar="[RUN]", required=False)
    def attach(given: Given, run: str | None) -> None:
        """Be in a run's tmux; without RUN, in one's own session on the machine."""
        sys.exit(runs.attach(given.desk(), run))

    @command(gpu, "cancel")
    @click.argument("run", metavar="RUN")
    def cancel(given: Given, run: str) -> None:
        """End a run; its checkpoint is written first, and --resume goes on from it."""
        job = runs.cancel(given.desk(), run)
        again = f"\ngo on with it later: gpu train --resume {job.run_id}" if job.resumable else ""
        click.echo(f"{job.run_id} {job.describe()}{again}")

    @command(gpu, "pull")
    @click.argument("run", metavar="[RUN]", required=False)
    def pull(given: Given, run: str | None) -> None:
        """Bring a run home, or every finished one that is not home yet."""
        pulled = runs.pull(given.desk(), run)
        if given.json:
            print_json([str(folder) for folder in pulled.folders])
            return
        lines = [str(folder) for folder in pulled.folders]
        lines += [f"{job.run_id} {job.describe()}: it is not home" for job in pulled.live]
        click.echo("\n".join(lines) or "everything is home")
