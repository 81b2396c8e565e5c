"""One training, from a data set to the files of a run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy
import torch

from . import checkpoint, device, features, fit, models, paperwork, run_folder, submission, weights
from .calibration import Answers
from .data import DataSet, Photo
from .errors import TrainerError
from .probabilities import Array
from .store import Store

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What was asked for; `epochs` None: to convergence."""

    out: Path
    cache: Path
    model: str
    wanted: weights.Wanted
    epochs: int | None
    batch: int
    seed: int
    device: str
    resume: bool = False
    """Go on from what an interrupted run left in `out`."""


@dataclass
class Job:
    """A training under way. `run` does all of it; SHA256SUMS is written last and covers every other file."""

    options: Options
    data: DataSet
    say: Say
    quarantined: list[dict[str, str]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    _metrics: IO[str] | None = None
    _began: float = field(default_factory=time.monotonic)
    _earlier: float = 0.0
    """Seconds that interrupted attempts took."""
    _progress: checkpoint.Progress | None = None

    def run(self) -> dict[str, Any]:
        """Train, write every file, and return what result.json holds."""
        self._began = time.monotonic()
        torch.manual_seed(self.options.seed)
        _clear(self.options.out, keep=self.options.resume)
        with (self.options.out / run_folder.METRICS).open("w", encoding="utf-8") as self._metrics:
            result = self._train()
            self._event({"event": "end", **{key: result[key] for key in ("accuracy", "log_loss", "seconds")}})
        (self.options.out / run_folder.CHECKPOINT).unlink(missing_ok=True)
        written = [name for name in _FILES if (self.options.out / name).exists()]
        checkpoint.write_sums(self.options.out / run_folder.SUMS, written)
        return result

    def _train(self) -> dict[str, Any]:
        options, data = self.options, self.data
        processor = device.choose(options.device)
        self._introduce(processor)
        source = weights.obtain(options.model, options.wanted, options.cache, self.say)
        network = models.build(options.model)
        models.load(network, weights.load(source))
        table = self._features(network, source, processor)
        counts = (len(data.train), len(data.train) + len(data.valid))
        train, valid = self._part(table, data.train, 0), self._part(table, data.valid, counts[0])
        head = self._fit(train, valid)
        answers = Answers.calibrated(head, valid)
        rows = self._predict(table, answers, train, counts[1])
        result = self._result(answers, processor)
        result.update(train=len(train.labels), valid=len(valid.labels), weight_decay=head.decay)
        self._write_model(network, head, answers, source)
        if data.test:
            content = submission.table(data.classes, [question.id for question in data.test], rows.tolist())
            checkpoint.write_bytes(options.out / run_folder.SUBMISSION, content)
        asked = {name: getattr(options, name) for name in ("model", "epochs", "batch", "seed", "device")}
        finished = (data, table, answers.of(valid.rows), self.history, result, source, processor, asked)
        paperwork.write(options.out, paperwork.Finished(*finished))
        checkpoint.write_json(options.out / run_folder.RESULT, result)
        return result

    def _introduce(self, processor: torch.device) -> None:
        data = self.data
        what = "the sample of " if data.sample else ""
        self.say(
            f"{self.options.model} on {what}{data.root.name}: {len(data.train)} to train, "
            f"{len(data.valid)} to validate, {len(data.test)} to predict, {len(data.classes)} classes, "
            f"on {device.words(processor)}"
        )
        if not data.test:
            self.say(f"there is no {run_folder.TEST}/ in {data.root}: no submission will be written")
        counts = {"train": len(data.train), "valid": len(data.valid), "test": len(data.test)}
        self._event({"event": "start", "model": self.options.model, "classes": list(data.classes), **counts})

    def _features(self, network: models.Network, source: weights.Weights, processor: torch.device) -> features.Table:
        how = models.preprocessing(self.options.model)
        extractor = features.Extractor(network, how, processor, self.options.batch)
        store = Store(self.options.cache, extractor.recipe(source.sha256), network.width)
        if store.damaged:
            self.say(f"{store.damaged} damaged files of the feature cache are computed again")
        data = self.data
        paths = [item.path for item in (*data.train, *data.valid, *data.test)]
        try:
            table = extractor.run(paths, store, self.say, left=self._estimate)
        finally:
            store.save()
        for index, why in table.broken.items():
            self._set_aside(paths[index], why, predicted=index >= len(data.train) + len(data.valid))
        return table

    def _set_aside(self, path: Path, why: str, *, predicted: bool) -> None:
        name = str(path.relative_to(self.data.root))
        done = "it is predicted as the share of each class" if predicted else "it is left out"
        self.say(f"warning: {name} cannot be used ({why}): {done}")
        self.quarantined.append({"file": name, "why": why})
        self._event({"event": "quarantined", "file": name, "why": why})

    def _part(self, table: features.Table, photos: Sequence[Photo], start: int) -> fit.Part:
        kept = [index for index in range(len(photos)) if start + index not in table.broken]
        labels = numpy.array([photos[index].label for index in kept], dtype=numpy.int64)
        missing = set(range(len(self.data.classes))) - set(labels.tolist())
        if missing:
            folder = next(photo.path.parent for photo in photos if photo.label in missing)
            raise TrainerError(f"none of the photographs in {folder} can be read", "Replace them")
        return fit.Part.of(table.rows[[start + index for index in kept]], labels)

    def _fit(self, train: fit.Part, valid: fit.Part) -> fit.Head:
        classes, epochs = len(self.data.classes), self.options.epochs
        kept = self._kept(train, valid)
        try:
            if epochs is None:
                return fit.converged(train, valid, classes=classes, tell=self._epoch, kept=kept)
            how = fit.Passes(classes, epochs, self.options.seed)
            return fit.in_epochs(train, valid, how, tell=self._epoch, kept=kept)
        finally:
            kept.flush()

    def _kept(self, train: fit.Part, valid: fit.Part) -> checkpoint.Progress:
        """The checkpoint of the fit; what an earlier attempt has told is told again, for the report."""
        running = hashlib.sha256(f"1 {self.options.epochs} {self.options.seed} {self.data.classes}".encode())
        for tensor in (train.rows, train.labels, valid.rows, valid.labels):
            running.update(tensor.numpy().data)
        kept = checkpoint.Progress(self.options.out / run_folder.CHECKPOINT, running.hexdigest())
        if kept.tensors:
            self.say(f"going on from the checkpoint, after {len(kept.facts['history'])} steps of the fit")
            self.history = kept.facts["history"]
            self._earlier = kept.facts["seconds"]
            for entry in self.history:
                self._event({"event": "epoch", **entry})
        kept.facts["history"] = self.history
        self._progress = kept
        return kept

    def _seconds(self) -> float:
        return round(self._earlier + time.monotonic() - self._began, 2)

    def _estimate(self, left: float) -> None:
        """Of the whole run, `left` seconds being what the features still take; the fit is counted as one in ten."""
        self._event({"event": "estimate", "seconds": round(self._seconds() + left * 1.1, 1)})

    def _epoch(self, entry: dict[str, Any]) -> None:
        self.history.append(entry)
        if self._progress is not None:
            self._progress.facts["seconds"] = self._seconds()
        self._event({"event": "epoch", **entry})
        title = f"Epoch {entry['epoch']}/{entry['epochs']}"
        if "weight_decay" in entry:
            title = f"fit {entry['epoch']}/{entry['epochs']}  weight decay {entry['weight_decay']:g}"
        self.say(
            f"{title}  loss {entry['loss']:.4f}  acc {entry['acc']:.4f}  "
            f"val_loss {entry['val_loss']:.4f}  val_acc {entry['val_acc']:.4f}"
        )

    def _predict(self, table: features.Table, answers: Answers, train: fit.Part, start: int) -> Array:
        """(n, classes) for the questions in order; a broken one gets the training set's share of each class."""
        rows = answers.of(torch.from_numpy(table.rows[start:]))
        shares = numpy.bincount(train.labels.numpy(), minlength=len(self.data.classes)) / len(train.labels)
        for index in table.broken:
            if index >= start:
                rows[index - start] = shares
        return rows

    def _result(self, answers: Answers, processor: torch.device) -> dict[str, Any]:
        return {
            "data": self.data.root.name,
            "model": self.options.model,
            "sample": self.data.sample,
            "accuracy": answers.accuracy,
            "log_loss": answers.log_loss,
            "log_loss_raw": answers.log_loss_raw,
            "temperature": answers.temperature,
            "clip": answers.edge,
            "epochs": self.options.epochs,
            "test": len(self.data.test),
            "seconds": self._seconds(),
            "device": device.words(processor),
            "torch": torch.__version__,
            "torchvision": importlib.metadata.version("torchvision"),
            "submission": bool(self.data.test),
            "quarantined": self.quarantined,
        }

    def _write_model(self, network: models.Network, head: fit.Head, answers: Answers, source: weights.Weights) -> None:
        network.set_head(head.module())
        path = self.options.out / run_folder.WEIGHTS
        checkpoint.write_weights(path, network.whole.state_dict())
        document = {
            "architecture": network.name,
            "classes": list(self.data.classes),
            "preprocessing": models.preprocessing(network.name).document(),
            "mirrored": True,
            "temperature": answers.temperature,
            "clip": answers.edge,
            "sample": self.data.sample,
            "sha256": checkpoint.digest(path),
            "weights": {"source": source.source, "sha256": source.sha256},
        }
        checkpoint.write_json(self.options.out / run_folder.MODEL, document)

    def _event(self, event: dict[str, Any]) -> None:
        if self._metrics is not None:
            self._metrics.write(json.dumps(event) + "\n")
            self._metrics.flush()


_FILES = (
    run_folder.WEIGHTS, run_folder.MODEL, run_folder.SUBMISSION, run_folder.METRICS, run_folder.RESULT,
    run_folder.MANIFEST, run_folder.REPORT, run_folder.LOSS_PLOT, run_folder.CONFUSION_PLOT,
)  # fmt: skip


def _clear(out: Path, *, keep: bool) -> None:
    """Take an earlier run's files away, the sums first: a half-made run must not look like a whole one.

    `keep`: its checkpoint stays.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (run_folder.SUMS, *_FILES, *(() if keep else (run_folder.CHECKPOINT,))):
        (out / name).unlink(missing_ok=True)
