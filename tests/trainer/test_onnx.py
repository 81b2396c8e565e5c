from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from torch import nn

from trainer import onnxfile
from trainer.errors import TrainerError
from trainer.images import Preprocessing, decode

HOW = Preprocessing(32, None, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


class Odd(nn.Module):
    """Answers otherwise when it is traced: what a parity check is for."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        shift = 3.0 if torch.jit.is_tracing() else 0.0
        return torch.stack([planes.mean((1, 2, 3)) + shift, planes.amax((1, 2, 3))], 1)


def model(whole: nn.Module | None = None) -> onnxfile.Model:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    small = nn.Sequential(*layers, nn.Linear(8, 3)).eval()
    return onnxfile.Model("small", whole or small, HOW, ("a", "b", "ü")[: 2 if whole else 3], 1.5, 0.01)


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    random = numpy.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path in paths[:3]:
        pixels = random.integers(0, 256, (5, 7, 3), dtype=numpy.uint8)
        Image.fromarray(pixels).resize((70, 50), Image.Resampling.BICUBIC).save(path)
    paths[3].write_bytes(b"no photograph")
    return paths


def test_the_file_answers_as_torch_does(tmp_path: Path, photographs: list[Path]) -> None:
    onnx = pytest.importorskip("onnx")
    said: list[str] = []
    made = model()
    assert onnxfile.write(tmp_path / "model.onnx", made, photographs, said.append)
    assert "3 photographs" in said[0]
    pixels = numpy.stack([decode(path.read_bytes(), HOW) for path in photographs[:3]])
    found = onnxfile.answers((tmp_path / "model.onnx").read_bytes(), pixels)
    mean, std = (torch.tensor(three).view(3, 1, 1) for three in (HOW.mean, HOW.std))
    planes = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        logits = (made.whole(planes) + made.whole(planes.flip(3))) / 2
    expected = (logits / 1.5).softmax(1) * (1 - 0.03) + 0.01
    assert numpy.allclose(found, expected.numpy(), atol=1e-5)
    proto = onnx.load(tmp_path / "model.onnx")
    facts = {item.key: json.loads(item.value) for item in proto.metadata_props}
    assert facts["classes"] == ["a", "b", "ü"] and facts["preprocessing"]["size"] == 32
    assert Preprocessing.from_document(facts["preprocessing"]) == HOW
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator(proto)
    assert numpy.allclose(evaluator.run(None, {"pixels": pixels})[0], found, atol=1e-5)


def test_of_one_look_it_has_one(tmp_path: Path, photographs: list[Path]) -> None:
    pytest.importorskip("onnx")
    made = replace(model(), mirrored=False)
    assert onnxfile.write(tmp_path / "model.onnx", made, photographs, print)
    pixels = numpy.stack([decode(path.read_bytes(), HOW) for path in photographs[:3]])
    content = (tmp_path / "model.onnx").read_bytes()
    assert not numpy.allclose(onnxfile.answers(content, pixels), onnxfile.answers(content, pixels[:, :, ::-1].copy()))


def test_a_file_that_answers_otherwise_is_not_written(tmp_path: Path, photographs: list[Path]) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(TrainerError, match="answers otherwise"):
        onnxfile.write(tmp_path / "model.onnx", model(Odd()), photographs, print)
    assert not (tmp_path / "model.onnx").exists()


def test_without_the_package_it_says_what_to_install(tmp_path: Path) -> None:
    """In a Python that has no onnx, whatever this one has."""
    script = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name.startswith('onnx') else find(name, *more)\n"
        "from pathlib import Path; from trainer import onnxfile\n"
        "said = []; path = Path(sys.argv[1])\n"
        "model = onnxfile.Model('small', None, None, (), 1.0, 0.0)\n"
        "assert onnxfile.write(path, model, [], said.append) is False and not path.exists()\n"
        "print(said[0])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "pip install onnx onnxruntime" in done.stdout
