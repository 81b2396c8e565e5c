"""Predict with what a run has made: `model.safetensors` and `model.json` are enough."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import nn

from . import models, names, run_folder, weights
from .errors import TrainerError
from .images import Preprocessing, Undecodable, decode
from .probabilities import Array, clip, softmax


@dataclass(frozen=True)
class Predictor:
    """A network with its head, and how its answers become probabilities."""

    whole: nn.Module
    how: Preprocessing
    classes: tuple[str, ...]
    temperature: float
    clip: float

    @torch.inference_mode()
    def probabilities(self, paths: Sequence[Path]) -> Array:
        """(n, classes), one row for each path. TrainerError names a photograph that cannot be read."""
        return numpy.stack([self._one(path) for path in paths])

    def _one(self, path: Path) -> Array:
        try:
            pixels = torch.from_numpy(decode(path.read_bytes(), self.how).copy())
        except (OSError, Undecodable) as error:
            raise TrainerError(f"{path} is no photograph that can be read: {error}", "Leave it out") from error
        mean, std = torch.tensor(self.how.mean), torch.tensor(self.how.std)
        planes = ((pixels.float() / 255 - mean) / std).permute(2, 0, 1)[None]
        logits = (self.whole(planes) + self.whole(planes.flip(3))) / 2
        return clip(softmax(logits.double().numpy() / self.temperature), self.clip)[0]


def load(run: Path) -> Predictor:
    """The model of the run folder `run`. TrainerError when its files are missing or damaged."""
    try:
        document: dict[str, Any] = json.loads((run / run_folder.MODEL).read_text())
        classes = tuple(document["classes"])
        network = models.build(names.check(document["architecture"]))
        network.set_head(nn.Linear(network.width, len(classes)))
        how = Preprocessing.from_document(document["preprocessing"])
        temperature, clip = float(document["temperature"]), float(document["clip"])
        digest = str(document["sha256"])
    except OSError as error:
        raise TrainerError(f"{run} has no model: {error.strerror}", "Only a finished run has one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TrainerError(f"{run / run_folder.MODEL} is damaged", "Get the run again with gpu pull") from error
    state = weights.load(weights.Weights(run / run_folder.WEIGHTS, digest, "this run"))
    models.load(network, state)
    linear = network.whole.get_submodule(network.head)
    with torch.no_grad():
        linear.weight.copy_(state[f"{network.head}.weight"])  # type: ignore[operator,union-attr]
        linear.bias.copy_(state[f"{network.head}.bias"])  # type: ignore[operator,union-attr]
    return Predictor(network.whole.eval(), how, classes, temperature, clip)
