"""model.onnx: the whole network with its preprocessing, mirror image and calibration, for programs without torch.

Its input `pixels` is (n, size, size, 3), bytes, RGB, as images.decode makes them; its output `probabilities` is
(n, classes), those of `gpu predict` but for what short floats change there. Of a network that is looked through more
than twice, it has the first two looks. The file is believed only after it has answered about real photographs as
torch does.
"""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from . import checkpoint
from .errors import TrainerError
from .images import Preprocessing, Undecodable, decode
from .probabilities import Array

OPSET = 17
TOLERANCE = 1e-3
"""Of a probability: other kernels add in another order."""
_PARITY = 16


@dataclass(frozen=True)
class Model:
    """What is exported: `whole` maps standardized photographs (n, 3, size, size) to logits; `clip` and `temperature`
    make probabilities of them, as in model.json."""

    name: str
    whole: nn.Module
    how: Preprocessing
    classes: Sequence[str]
    temperature: float
    clip: float
    mirrored: bool = True
    """Whether a logit is the mean over a photograph and its mirror image."""


class _Answering(nn.Module):
    """From pixels to probabilities."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.whole = model.whole
        self.mirrored = model.mirrored
        self.cool, self.clip, self.classes = 1 / model.temperature, model.clip, len(model.classes)
        self.mean = torch.tensor(model.how.mean).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(model.how.std).view(1, 3, 1, 1) * 255

    def forward(self, pixels: Tensor) -> Tensor:
        planes = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        logits = (self.whole(planes) + self.whole(planes.flip(3))) / 2 if self.mirrored else self.whole(planes)
        return torch.softmax(logits * self.cool, dim=1) * (1 - self.classes * self.clip) + self.clip


def write(path: Path, model: Model, photographs: Sequence[Path], say: Callable[[str], None]) -> bool:
    """Write the file at `path`; False, with a line said, where the package `onnx` is missing.

    TrainerError, and no file, when its answers about (at most 16 of) `photographs` are not torch's.
    """
    if importlib.util.find_spec("onnx") is None:
        say(f"no {path.name} is written: run pip install onnx onnxruntime, and train again")
        return False
    pixels = _pixels(photographs, model.how)
    network = _Answering(model).cpu().float().eval()
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels)).numpy()
    content = _described(_exported(network, pixels[:1]), model)
    off = float(numpy.abs(answers(content, pixels) - expected).max(initial=0.0))
    if not off <= TOLERANCE:
        raise TrainerError(
            f"{model.name} as ONNX answers otherwise than in torch: a probability is off by {off:.4f}",
            "Leave --onnx out; model.safetensors is right",
        )
    checkpoint.write_bytes(path, content)
    say(f"wrote {path.name}; its answers about {len(pixels)} photographs are torch's within {off:.0e}")
    return True


def answers(content: bytes, pixels: Array) -> Array:
    """Probabilities (n, classes) by onnxruntime, or where that is missing by the reference evaluator of onnx."""
    if importlib.util.find_spec("onnxruntime") is not None:
        session = import_module("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
        rows = session.run(["probabilities"], {"pixels": pixels})[0]
    else:
        proto = import_module("onnx").load_from_string(content)
        rows = import_module("onnx.reference").ReferenceEvaluator(proto).run(None, {"pixels": pixels})[0]
    return rows  # type: ignore[no-any-return]


def _pixels(photographs: Sequence[Path], how: Preprocessing) -> Array:
    """Of those among the first that can be read, at most 16; grey noise stands in where there is none."""
    found = []
    for path in photographs:
        try:
            found.append(decode(path.read_bytes(), how))
        except (OSError, Undecodable):
            continue
        if len(found) == _PARITY:
            break
    if not found:
        return numpy.random.default_rng(0).integers(0, 256, (1, how.size, how.size, 3), dtype=numpy.uint8)
    return numpy.stack(found)


def _exported(network: nn.Module, example: Array) -> bytes:
    """By the exporter that traces: it needs no further package, and torch 2.0 has it too."""
    file: Any = io.BytesIO()
    kind: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.from_numpy(example),),
            file,
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_axes={"pixels": {0: "n"}, "probabilities": {0: "n"}},
            opset_version=OPSET,
            **kind,
        )
    return bytes(file.getvalue())


def _described(content: bytes, model: Model) -> bytes:
    """With what a reader must know in its metadata: classes in order, and how a photograph becomes pixels."""
    onnx = import_module("onnx")
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto)
    facts: dict[str, Any] = {
        "architecture": model.name,
        "classes": list(model.classes),
        "preprocessing": model.how.document(),
    }
    facts |= {"temperature": model.temperature, "clip": model.clip, "mirrored": model.mirrored}
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in facts.items()})
    return bytes(proto.SerializeToString())
