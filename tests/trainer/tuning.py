"""A training through a small network, as a process: `main([DATA, OUT, ...])` leaves OUT/weights.safetensors."""

from __future__ import annotations

import argparse
import resource
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trainer import checkpoint, data, models, tune
from trainer.__main__ import Terminated, _terminate
from trainer.images import Preprocessing
from trainer.plan import Plan, Seams

from .hardware import DEVICE

HOW = Preprocessing(48, None, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def small(name: str = "shufflenet_v2_x0_5", classes: int = 2) -> models.Network:
    """A network with the same random weights every time, its head small as a fitted one's."""
    torch.manual_seed(7)
    network = models.build(name)
    network.set_head(torch.nn.Linear(network.width, classes))
    with torch.no_grad():
        # As in a trained network, batch norm knows what comes to it: without that, nothing would arrive at the head.
        for part in network.whole.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = 1.0
        network.whole.train()(torch.randn(16, 3, HOW.size, HOW.size))
        network.whole.eval().get_submodule(network.head).weight.mul_(0.1)  # type: ignore[operator,union-attr]
    return network


def main(arguments: list[str]) -> int:
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    # Often, however slow the disk is: so short a training would else be over before the first one.
    checkpoint.WRITE_SECONDS, checkpoint._SHARE = 0.1, 1.0
    found = data.walk(asked.data)
    plan = Plan(epochs=asked.epochs, layers=asked.layers, batch=asked.batch, rates=(1e-4, 1e-3), seed=3, patience=99)

    def tell(entry: dict[str, Any]) -> None:
        print("epoch", entry["epoch"], entry["val_loss"], flush=True)
        if asked.file_limit and (asked.out / "tune.safetensors").exists():
            resource.setrlimit(resource.RLIMIT_FSIZE, (asked.file_limit, resource.RLIM_INFINITY))
        if entry["epoch"] == 0 and asked.room:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + asked.room * 2**20, resource.RLIM_INFINITY))

    def say(line: str) -> None:
        print(line, flush=True)

    seams = Seams(torch.device(DEVICE), asked.out / "tune.safetensors", say, tell)
    how = replace(HOW, size=asked.size)
    try:
        tuned = tune.through(small(asked.model), (found.train, found.valid), how, plan, seams)
    except Terminated:
        return 143
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    checkpoint.write_weights(asked.out / "weights.safetensors", tuned.network.whole.state_dict())
    print("at once", tuned.at_once, "best", tuned.epoch, flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="shufflenet_v2_x0_5")
    parser.add_argument("--size", type=int, default=HOW.size)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--file-limit", type=int, default=0, help="bytes, after the first checkpoint")
    parser.add_argument("--room", type=int, default=0, help="MiB of address space more than after the first validation")
    return parser
