"""The files that a run leaves, and the two that are its model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import checkpoint, models, run_folder
from .calibration import Calibration
from .weights import Weights

FILES = (
    run_folder.WEIGHTS, run_folder.MODEL, run_folder.ONNX, run_folder.SUBMISSION, run_folder.METRICS,
    run_folder.RESULT, run_folder.MANIFEST, run_folder.REPORT, run_folder.LOSS_PLOT, run_folder.CONFUSION_PLOT,
    run_folder.RATES_PLOT,
)  # fmt: skip
_CHECKPOINTS = (run_folder.CHECKPOINT, run_folder.TUNING_CHECKPOINT)


def clear(out: Path, *, keep: bool) -> None:
    """Take an earlier run's files away, the sums first: a half-made run must not look like a whole one.

    `keep`: its checkpoints stay.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (run_folder.SUMS, *FILES, *(() if keep else _CHECKPOINTS)):
        (out / name).unlink(missing_ok=True)


def close(out: Path) -> None:
    """The checkpoints go, and SHA256SUMS comes last, over every other file."""
    for name in _CHECKPOINTS:
        (out / name).unlink(missing_ok=True)
    checkpoint.write_sums(out / run_folder.SUMS, [name for name in FILES if (out / name).exists()])


@dataclass(frozen=True)
class Model:
    """A trained network, its head in place. `views`: how many looks its answers are the mean of, through the network;
    0: the head's answer to the mean of the features of photograph and mirror image."""

    network: models.Network
    classes: Sequence[str]
    calibration: Calibration
    source: Weights
    sample: bool
    views: int = 0

    def write(self, out: Path) -> None:
        path = out / run_folder.WEIGHTS
        checkpoint.write_weights(path, self.network.whole.state_dict())
        document = {
            "architecture": self.network.name,
            "classes": list(self.classes),
            "preprocessing": models.preprocessing(self.network.name).document(),
            "mirrored": True,
            "views": self.views,
            "temperature": self.calibration.temperature,
            "clip": self.calibration.edge,
            "sample": self.sample,
            "sha256": checkpoint.digest(path),
            "weights": {"source": self.source.source, "sha256": self.source.sha256},
        }
        checkpoint.write_json(out / run_folder.MODEL, document)
