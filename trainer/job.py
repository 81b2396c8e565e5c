"""One training, from a data set to the files of a run."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch

from . import (
    artefacts,
    checkpoint,
    device,
    fit,
    models,
    onnxfile,
    paperwork,
    precision,
    ratefinder,
    rows,
    run_folder,
    submission,
    tune,
    views,
    weights,
)
from .calibration import Calibration
from .data import DataSet, nothing_to_predict
from .features import Extractor
from .forward import Forward
from .logbook import Logbook
from .plan import Plan, Seams
from .probabilities import Array
from .stages import Stages

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    out: Path
    cache: Path
    model: str
    wanted: weights.Wanted
    epochs: int | None
    """Passes over the features; None: to convergence."""
    batch: int
    seed: int
    device: str
    resume: bool = False
    """Go on from what an interrupted run left in `out`."""
    metric: str = submission.LOG_LOSS
    views: int = 0
    """Random parts of each photograph to train on, besides the whole of it."""
    balanced: bool = False
    plan: Plan | None = None
    """How to train through the network afterwards; None: not at all."""
    find_rate: bool = False
    onnx: bool = False
    price: float | None = None
    """US dollars an hour."""

    def document(self) -> dict[str, Any]:
        """For the manifest: what the result depends on, without paths."""
        asked = ("model", "epochs", "batch", "seed", "device", "metric", "views", "balanced", "find_rate")
        return {
            **{name: getattr(self, name) for name in asked},
            "unfreeze": None if self.plan is None else self.plan.document(),
        }


@dataclass(frozen=True)
class _Outcome:
    """The network with its head in place, and its logits."""

    network: models.Network
    valid: Array
    """(n, classes) of the validation photographs that can be read."""
    test: Array
    """(m, classes) of the questions; those that cannot be read have rows without a meaning."""
    rivals: tuple[Array, ...] = ()
    """As `valid`, of the heads among which this one was chosen."""
    views: int = 0
    """See `artefacts.Model`."""


@dataclass
class Job:
    """A training. `run` does all of it; SHA256SUMS is written last and covers every other file."""

    options: Options
    data: DataSet
    say: Say
    stages: Stages = field(default_factory=Stages)

    def run(self) -> dict[str, Any]:
        """Train, write every file, and return what result.json holds."""
        out = self.options.out
        torch.manual_seed(self.options.seed)
        # What can be refused is, before the files of an earlier run go.
        ready = _Ready.of(self.options, self.data, self.say)
        artefacts.clear(out, keep=self.options.resume)
        checkpoint.sweep(out)
        with (out / run_folder.METRICS).open("w", encoding="utf-8") as events:
            log = Logbook(events, self.say, self.stages.began)
            result = _Training(self, ready, log).run()
            log.event("end", **{key: result[key] for key in ("accuracy", "log_loss", "seconds")})
        artefacts.close(out)
        return result


@dataclass(frozen=True)
class _Ready:
    """What a training needs besides its data. `form` None: there is nothing to submit."""

    form: submission.Form | None
    processor: torch.device
    source: weights.Weights

    @classmethod
    def of(cls, options: Options, data: DataSet, say: Say) -> _Ready:
        """Say what is about to be done. TrainerError where it cannot be, or where nobody would take the submission."""
        form = cls._form(options, data, say)
        processor = device.choose(options.device)
        what = "the sample of " if data.sample else ""
        say(
            f"{options.model} on {what}{data.root.name}: {len(data.train)} to train, "
            f"{len(data.valid)} to validate, {len(data.test)} to predict, {len(data.classes)} classes, "
            f"on {device.words(processor)}"
        )
        if not data.test:
            say(f"{nothing_to_predict(data.root)}: no submission will be written")
        return cls(form, processor, weights.obtain(options.model, options.wanted, options.cache, say))

    @staticmethod
    def _form(options: Options, data: DataSet, say: Say) -> submission.Form | None:
        if not data.test:
            return None
        # A sample's photographs are not those that the competition asks for.
        sample = None if data.sample else submission.find_sample(data.root)
        ids = [question.id for question in data.test]
        form = submission.Form.of(data.classes, ids, metric=options.metric, sample=sample)
        if sample and len(form.columns) == 1:
            say(f"the column {form.header[1]} of the submission is the probability of {data.classes[form.columns[0]]}")
        return form


class _Training:
    """A job under way."""

    def __init__(self, job: Job, ready: _Ready, log: Logbook) -> None:
        self.options, self.data, self.stages, self.log = job.options, job.data, job.stages, log
        self.form, self.processor, self.source = ready.form, ready.processor, ready.source
        counts = {"train": len(self.data.train), "valid": len(self.data.valid), "test": len(self.data.test)}
        log.event("start", model=self.options.model, classes=list(self.data.classes), **counts)

    def run(self) -> dict[str, Any]:
        options, data = self.options, self.data
        with self.stages.during("prepare"):
            network = models.build(options.model)
            models.load(network, weights.load(self.source))
        how = models.preprocessing(options.model)
        extractor = Extractor(network, how, self.processor, options.batch, stages=self.stages)
        source = rows.Source(extractor, self.source.sha256, options.cache)
        found = rows.compute(data, source, self.log, views=options.views, seed=options.seed)
        with self.stages.during("head"):
            head = self._fit(found)
        outcome = self._answered(network, head, found)
        if options.plan is not None:
            with self.stages.during("network"):
                outcome = self._tuned(outcome, found, options.plan)
        with self.stages.during("calibrate"):
            labels = found.valid.labels.numpy()
            calibration = Calibration.chosen(outcome.valid, labels, outcome.rivals)
        self._write_model(outcome, calibration)
        self._write_submission(outcome, calibration, found)
        result = self._result(calibration, found, head)
        self._write_papers(found, calibration.probabilities(outcome.valid), result)
        return result

    def _fit(self, found: rows.Rows) -> fit.Head:
        options, classes = self.options, len(self.data.classes)
        kept = self._kept(found)
        train, valid = found.train.to(self.processor), found.valid.to(self.processor)
        try:
            if options.epochs is None:
                how: dict[str, Any] = {"classes": classes, "balanced": options.balanced}
                return fit.converged(train, valid, tell=self.log.fitted, kept=kept, **how)
            passes = fit.Passes(classes, options.epochs, options.seed, options.balanced)
            return fit.in_epochs(train, valid, passes, tell=self.log.fitted, kept=kept)
        finally:
            kept.flush()

    def _kept(self, found: rows.Rows) -> checkpoint.Progress:
        """The checkpoint of the fit, of the same wish and the same features alone."""
        options = self.options
        asked = f"3 {options.epochs} {options.seed} {options.balanced} {self.data.classes}"
        running = hashlib.sha256(asked.encode("utf-8", "surrogateescape"))
        for part in (found.train, found.valid):
            running.update(part.rows.numpy().data)
            running.update(part.labels.numpy().data)
        kept = checkpoint.Progress(options.out / run_folder.CHECKPOINT, running.hexdigest(), self.log.say)
        self.log.keep_in(kept)
        return kept

    def _answered(self, network: models.Network, head: fit.Head, found: rows.Rows) -> _Outcome:
        network.set_head(head.module())
        valid, test = (head.logits(part).numpy() for part in (found.valid.rows, found.test))
        return _Outcome(network, valid, test, tuple(each.logits(found.valid.rows).numpy() for each in head.rivals))

    def _tuned(self, before: _Outcome, found: rows.Rows, plan: Plan) -> _Outcome:
        """The better one by the validation photographs: the network through which was trained, or the one before."""
        options, how = self.options, models.preprocessing(self.options.model)
        place = options.out / run_folder.TUNING_CHECKPOINT
        # On a CPU, the short floats were seen to save nothing on the way back.
        arithmetic = precision.choose(self.processor) if self.processor.type == "cuda" else torch.float32
        seams = Seams(self.processor, place, self.log.say, self.log.tuned, arithmetic)
        if options.find_rate:
            plan = self._rated(before.network, found, plan, seams)
        tuned = tune.through(before.network, found.kept, how, plan, seams)
        if not tuned.helped:
            self.log.say("training through the network has not lowered the validation loss: the frozen one is kept")
            return before
        self.log.say(f"the network of epoch {tuned.epoch} is kept; {len(tuned.layers)} layers have learned")
        forward = Forward(before.network.whole.to(self.processor), how, self.processor, arithmetic)
        paths = [photo.path for photo in found.kept[1]], [question.path for question in self.data.test]
        valid, test = (views.logits(forward, part, plan.views, options.batch).rows for part in paths)
        before.network.whole.to("cpu")
        return _Outcome(before.network, valid, test, views=plan.views)

    def _rated(self, network: models.Network, found: rows.Rows, plan: Plan, seams: Seams) -> Plan:
        curve = ratefinder.find(network, found.kept[0], models.preprocessing(network.name), plan, seams)
        checkpoint.write_bytes(self.options.out / run_folder.RATES_PLOT, curve.png())
        if curve.suggestion is None:
            self.log.say(f"no learning rate lowers the loss; {plan.rates[1]:g} is tried for the head")
        else:
            self.log.say(f"the learning rate finder suggests {curve.suggestion:.1e} for the head")
        return ratefinder.suggested(plan, curve)

    def _write_model(self, outcome: _Outcome, calibration: Calibration) -> None:
        out, data = self.options.out, self.data
        with self.stages.during("write"):
            model = artefacts.Model(outcome.network, data.classes, calibration, self.source, data.sample, outcome.views)
            model.write(out)
        if self.options.onnx:
            with self.stages.during("onnx"):
                self._write_onnx(outcome, calibration)

    def _write_onnx(self, outcome: _Outcome, calibration: Calibration) -> None:
        how = models.preprocessing(outcome.network.name)
        facts = (self.data.classes, calibration.temperature, calibration.edge)
        exported = onnxfile.Model(outcome.network.name, outcome.network.whole, how, *facts, outcome.views != 1)
        if outcome.views > 2:
            self.log.say(f"{run_folder.ONNX} has 2 of the {outcome.views} looks: its answers differ a little")
        photographs = [photo.path for photo in self.data.valid]
        onnxfile.write(self.options.out / run_folder.ONNX, exported, photographs, self.log.say)

    def _write_submission(self, outcome: _Outcome, calibration: Calibration, found: rows.Rows) -> None:
        """A photograph that cannot be read gets the training set's share of each class."""
        if self.form is None:
            return
        answers = calibration.probabilities(outcome.test)
        answers[list(found.broken)] = found.shares(len(self.data.classes))
        checkpoint.write_bytes(self.options.out / run_folder.SUBMISSION, self.form.table(answers.tolist()))

    def _result(self, calibration: Calibration, found: rows.Rows, head: fit.Head) -> dict[str, Any]:
        data, options = self.data, self.options
        return {
            "data": data.root.name,
            "model": options.model,
            "sample": data.sample,
            "accuracy": calibration.accuracy.value,
            "log_loss": calibration.clipped.value,
            "log_loss_raw": calibration.raw.value,
            "expected": calibration.document(),
            "temperature": calibration.temperature,
            "clip": calibration.edge,
            "metric": options.metric,
            "epochs": options.epochs,
            "weight_decay": head.decay,
            "train": len(found.kept[0]),
            "valid": len(found.kept[1]),
            "test": len(data.test),
            "device": device.words(self.processor),
            "torch": torch.__version__,
            "torchvision": _version("torchvision"),
            "submission": bool(data.test),
            "quarantined": self.log.quarantined,
            "seconds": self.log.seconds(),
            "stages": self.stages.document(),
            "limiting": self.stages.limiting(),
        }

    def _write_papers(self, found: rows.Rows, probabilities: numpy.ndarray[Any, Any], result: dict[str, Any]) -> None:
        options = self.options
        # Of a fit in passes and epochs through the network, the latter are what the curves are of.
        decays = [entry for entry in self.log.history if "weight_decay" in entry]
        history = [*decays, *self.log.tuning] if self.log.tuning else self.log.history
        finished = paperwork.Finished(
            self.data, found.table, probabilities, history, result, self.source, self.processor, options.document(),
            options.price,
        )  # fmt: skip
        with self.stages.during("report"):
            paperwork.write(options.out, finished)
        result.update(seconds=self.log.seconds(), stages=self.stages.document())
        checkpoint.write_json(options.out / run_folder.RESULT, result)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
