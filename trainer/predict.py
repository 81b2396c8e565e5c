"""Predict with what a run has made: `model.safetensors` and `model.json` are enough.

`python -m trainer.predict RUN IMAGE|FOLDER...` writes class and probability of each photograph to stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import names, run_folder
from .data import natural
from .endings import ending
from .errors import TrainerError
from .plain import csv_line, printable

if TYPE_CHECKING:
    import torch

    from .fit import Head
    from .images import Preprocessing
    from .models import Network
    from .probabilities import Array

BATCH = 32


@dataclass(frozen=True)
class Answer:
    """What is in one file: the probability of every class in the network's order, or why there is none."""

    path: Path
    row: tuple[float, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Predictor:
    """A network with its head, and how its answers become probabilities."""

    network: Network
    head: Head
    how: Preprocessing
    classes: tuple[str, ...]
    temperature: float
    clip: float
    digest: str
    views: int = 0
    """See `artefacts.Model`."""

    def answers(self, paths: Sequence[Path], device: str = "auto") -> list[Answer]:
        """One for each path, in their order: the way through the network is the training's own."""
        from . import probabilities
        from .device import choose

        logits, broken = (self._through if self.views else self._by_features)(paths, choose(device))
        rows = probabilities.clip(probabilities.softmax(logits / self.temperature), self.clip)
        return [
            Answer(path, fault=broken[index]) if index in broken else Answer(path, tuple(row))
            for index, (path, row) in enumerate(zip(paths, rows.tolist(), strict=True))
        ]

    def _by_features(self, paths: Sequence[Path], device: torch.device) -> tuple[Array, dict[int, str]]:
        """(n, classes): the frozen network's features and the head on them."""
        import torch

        from .features import Extractor
        from .store import Store

        extractor = Extractor(self.network, self.how, device, BATCH)
        with tempfile.TemporaryDirectory(prefix="gpu-predict-") as folder:
            store = Store(Path(folder), extractor.recipe(self.digest), self.network.width)
            table = extractor.run(paths, store, _nothing)
        return self.head.logits(torch.from_numpy(table.rows)).numpy(), table.broken

    def _through(self, paths: Sequence[Path], device: torch.device) -> tuple[Array, dict[int, str]]:
        """(n, classes): of a network that was trained itself."""
        import torch

        from . import precision, views
        from .forward import Forward

        arithmetic = precision.choose(device) if device.type == "cuda" else torch.float32
        forward = Forward(self.network.whole.to(device), self.how, device, arithmetic)
        found = views.logits(forward, paths, self.views, BATCH)
        return found.rows, found.broken

    def probabilities(self, paths: Sequence[Path]) -> Array:
        """(n, classes), one row for each path. TrainerError names a photograph that cannot be read."""
        import numpy

        answers = self.answers(paths)
        for answer in answers:
            if answer.fault:
                raise TrainerError(f"{answer.path} is no photograph that can be read: {answer.fault}", "Leave it out")
        return numpy.array([answer.row for answer in answers])


def load(run: Path) -> Predictor:
    """The model of the run folder `run`. TrainerError when its files are missing or damaged."""
    document = _document(run)
    # Only now: torch takes seconds, and a wrong folder should be said at once.
    from . import models, weights
    from .fit import Head
    from .images import Preprocessing

    try:
        classes = tuple(str(name) for name in document["classes"])
        network = models.build(names.check(document["architecture"]))
        how = Preprocessing.from_document(document["preprocessing"])
        temperature, clip = float(document["temperature"]), float(document["clip"])
        digest, views = str(document["sha256"]), int(document.get("views", 0))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(run) from error
    state = weights.load(weights.Weights(run / run_folder.WEIGHTS, digest, "this run"))
    models.load(network, state)
    try:
        head = Head(state[f"{network.head}.weight"].double(), state[f"{network.head}.bias"].double(), 0.0)
    except KeyError as error:
        raise _damaged(run) from error
    if head.weight.shape != (len(classes), network.width):
        raise _damaged(run)
    # What was trained through the network answers by itself, with this head in its place.
    network.set_head(head.module())
    return Predictor(network, head, how, classes, temperature, clip, digest, views)


def _document(run: Path) -> dict[str, Any]:
    try:
        document = json.loads((run / run_folder.MODEL).read_bytes())
    except OSError as error:
        raise TrainerError(f"{run} has no model: {error.strerror}", "Only a finished run has one") from error
    except ValueError as error:
        raise _damaged(run) from error
    if not isinstance(document, dict):
        raise _damaged(run)
    return document


def _damaged(run: Path) -> TrainerError:
    return TrainerError(f"{run / run_folder.MODEL} is damaged", "Get the run again with gpu pull")


def photographs(named: Sequence[Path]) -> list[Path]:
    """The files themselves, and every image in the folders and below, in natural order; hidden ones are left out.

    TrainerError when a folder has none, or when something is no file: a pipe could be waited for without end.
    """
    found: list[Path] = []
    for path in named:
        if path.exists() and not (path.is_dir() or path.is_file()):
            raise TrainerError(f"{path} is no file", "Name photographs, or folders of them")
        if not path.is_dir():
            found.append(path)
            continue
        inside = [each for each in path.rglob("*") if _is_image(each, path)]
        if not inside:
            raise TrainerError(f"there is no photograph in {path}", "Name a folder that has some")
        found += sorted(inside, key=lambda each: natural(str(each)))
    return found


def _is_image(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in run_folder.IMAGE_SUFFIXES and path.is_file()


def _nothing(_line: str) -> None:
    """Progress is for those who train."""


@dataclass(frozen=True)
class Sheet:
    """Answers as text: the `top` most probable classes of each file."""

    classes: tuple[str, ...]
    top: int

    def text(self, answers: Sequence[Answer], form: str) -> str:
        return {"table": self._table, "csv": self._csv, "json": self._json}[form](answers)

    def best(self, answer: Answer) -> list[tuple[str, float]]:
        """Classes with their probabilities, the most probable first."""
        order = sorted(range(len(answer.row)), key=lambda index: -answer.row[index])
        return [(self.classes[index], answer.row[index]) for index in order[: self.top]]

    def _rows(self, answers: Sequence[Answer]) -> Iterator[list[str]]:
        numbers = ["", *(f"_{number}" for number in range(2, min(self.top, len(self.classes)) + 1))]
        yield ["file", *(f"{word}{number}" for number in numbers for word in ("class", "probability"))]
        for answer in answers:
            if not answer.fault:
                pairs = ((name, f"{value:.6f}") for name, value in self.best(answer))
                yield [str(answer.path), *(cell for pair in pairs for cell in pair)]

    def _table(self, answers: Sequence[Answer]) -> str:
        rows = [[printable(cell) for cell in row] for row in self._rows(answers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "".join(f"{line.rstrip()}\n" for line in lines)

    def _csv(self, answers: Sequence[Answer]) -> str:
        return "".join(map(csv_line, self._rows(answers)))

    def _json(self, answers: Sequence[Answer]) -> str:
        return json.dumps([self._entry(answer) for answer in answers], indent=1) + "\n"

    def _entry(self, answer: Answer) -> dict[str, Any]:
        if answer.fault:
            return {"file": str(answer.path), "error": answer.fault}
        best = self.best(answer)
        top = [{"class": name, "probability": value} for name, value in best]
        return {"file": str(answer.path), "class": best[0][0], "probability": best[0][1], "top": top}


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 done, 1 some or all could not be predicted, 2 wrong usage, 130 interrupted."""
    asked = _parser().parse_args(arguments)
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    return ending(lambda: _predict(asked), "Mend it and predict again")


def _predict(asked: argparse.Namespace) -> int:
    paths = photographs(asked.photographs)
    predictor = load(asked.run)
    answers = predictor.answers(paths, asked.device)
    sys.stdout.write(Sheet(predictor.classes, asked.top).text(answers, asked.format))
    sys.stdout.flush()
    broken = [answer for answer in answers if answer.fault]
    for answer in broken:
        print(f"error: {printable(str(answer.path))} cannot be used: {answer.fault}", file=sys.stderr)
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.predict", description=__doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="the folder of a finished run")
    add("photographs", type=Path, nargs="+", metavar="IMAGE|FOLDER", help="what to predict")
    add("--format", choices=("table", "csv", "json"), default="table", help="how it is written (%(default)s)")
    add("--top", type=_positive, default=1, metavar="K", help="the K most probable classes (%(default)s)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs (%(default)s)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
