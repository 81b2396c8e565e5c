"""What is written about a finished training: report.html, its two plots, and manifest.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from . import checkpoint, examination, manifest, report, run_folder
from .data import DataSet
from .features import Table
from .probabilities import Array
from .twins import Item
from .weights import Weights


@dataclass(frozen=True)
class Finished:
    """A training that is done.

    `table` has the features of train, valid and test in this order, `probabilities` those of the validation
    photographs that could be read, `asked` the options (the seed too, no paths), `price` the US dollars an hour, if
    somebody said.
    """

    data: DataSet
    table: Table
    probabilities: Array
    history: Sequence[Mapping[str, Any]]
    result: Mapping[str, Any]
    weights: Weights
    device: torch.device
    asked: Mapping[str, Any]
    price: float | None = None


def write(out: Path, run: Finished) -> None:
    """The four files in the folder `out`."""
    document = _manifest(run)
    checkpoint.write_json(out / run_folder.MANIFEST, document)
    facts = _facts(run, document)
    loss, confusion = report.plots(facts)
    checkpoint.write_bytes(out / run_folder.LOSS_PLOT, loss)
    checkpoint.write_bytes(out / run_folder.CONFUSION_PLOT, confusion)
    checkpoint.write_bytes(out / run_folder.REPORT, report.page(facts, int(run.asked["seed"])))


def _manifest(run: Finished) -> dict[str, Any]:
    data = run.data
    parts = ((run_folder.TRAIN, data.train), (run_folder.VALID, data.valid), (run_folder.TEST, data.test))
    splits = [manifest.Split(name, [photo.path for photo in part]) for name, part in parts]
    return manifest.document(
        data.root,
        splits,
        weights={"source": run.weights.source, "sha256": run.weights.sha256},
        options=run.asked,
        device=run.device,
        spent=manifest.Spent(float(run.result["seconds"]), run.price),
    )


def _facts(run: Finished, document: Mapping[str, Any]) -> report.Facts:
    items = _items(run.data)
    kept = [index for index in sorted(items) if index not in run.table.broken]
    looked_at = [items[index] for index in kept]
    labelled = [item for item in looked_at if item.split == run_folder.VALID]
    valid = report.Answered([item.path for item in labelled], _labels(labelled), run.probabilities)
    return report.Facts(
        classes=run.data.classes,
        root=run.data.root,
        valid=valid,
        history=run.history,
        result=run.result,
        weights=document["weights"],
        examination=examination.examine(looked_at, run.table.rows[kept], device=run.device),
        manifest=document,
    )


def _items(data: DataSet) -> dict[int, Item]:
    """By their row. A sample's questions are its validation photographs once more, which makes them no twins."""
    photos = [*((run_folder.TRAIN, p) for p in data.train), *((run_folder.VALID, p) for p in data.valid)]
    items = {index: Item(photo.path, split, photo.label) for index, (split, photo) in enumerate(photos)}
    known = {item.path for item in items.values()}
    questions = enumerate(data.test, len(photos))
    return items | {i: Item(q.path, run_folder.TEST, None) for i, q in questions if q.path not in known}


def _labels(items: Sequence[Item]) -> Array:
    return numpy.array([item.label for item in items], dtype=numpy.int64)
