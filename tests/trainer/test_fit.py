from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from torch.nn import functional

from trainer import fit
from trainer.probabilities import Array

from .hardware import DEVICE


def apart(n: int = 60, classes: int = 3, width: int = 12) -> tuple[Array, Array]:
    """Features in which the classes are far from one another, and their labels."""
    random = numpy.random.default_rng(0)
    labels = numpy.arange(n) % classes
    rows = random.normal(size=(n, width)) + 12 * numpy.eye(width)[labels]
    return rows.astype(numpy.float32), labels


def mixed(n: int, share: float) -> fit.Part:
    """Two classes that overlap; `share` of the photographs are of the second."""
    random = numpy.random.default_rng(1)
    labels = (random.random(n) < share).astype(numpy.int64)
    return fit.Part.of((random.normal(size=(n, 5)) + labels[:, None]).astype(numpy.float32), labels)


def silent(_entry: object) -> None:
    pass


def test_both_ways_of_fitting_separate_what_is_apart() -> None:
    part = fit.Part.of(*apart())
    told: list[dict[str, float]] = []
    heads = [fit.converged(part, part, classes=3, tell=told.append)]
    heads.append(fit.in_epochs(part, part, fit.Passes(3, 300, 0), tell=told.append))
    assert len(told) == len(fit.DECAYS) + 300
    assert all((head.logits(part.rows).argmax(1) == part.labels).all() for head in heads)


@pytest.mark.parametrize("classes", [2, 5])
def test_it_converges_to_where_the_loss_is_flat(classes: int) -> None:
    """The gradient of the whole objective, in double and by the textbook, is zero at what is found."""
    rows, _ = apart(300, classes, 20)
    labels = numpy.random.default_rng(2).integers(0, classes, 300)
    part = fit.Part.of(rows * 3 + 10, labels)
    head = fit.converged(part, part, classes=classes, tell=silent)
    inputs = part.rows.double()
    spread = inputs.std(0, unbiased=False)
    weight, bias = head.weight.clone().requires_grad_(), head.bias.clone().requires_grad_()
    loss = functional.cross_entropy(inputs @ weight.T + bias, part.labels)
    (loss + head.decay / 2 * (weight * spread).square().sum()).backward()
    assert weight.grad is not None and bias.grad is not None
    assert float((weight.grad / spread).abs().max()) < 1e-4
    assert float(bias.grad.abs().max()) < 1e-4


def test_a_second_fit_goes_on_from_the_first() -> None:
    part = mixed(400, 0.5)
    told: list[dict[str, float]] = []
    first = fit.in_epochs(part, part, fit.Passes(2, 3, 0), tell=told.append)
    fit.in_epochs(part, part, fit.Passes(2, 3, 1, start=first), tell=told.append)
    losses = [entry["loss"] for entry in told]
    assert [entry["epoch"] for entry in told] == [1, 2, 3, 1, 2, 3]
    assert losses == sorted(losses, reverse=True)
    still = fit.in_epochs(part, part, fit.Passes(2, 0, 1, start=first), tell=silent)
    assert torch.allclose(still.logits(part.rows), first.logits(part.rows))


@pytest.mark.parametrize("epochs", [None, 15])
def test_balanced_classes_weigh_the_same(epochs: int | None) -> None:
    part = mixed(600, 0.05)

    def expected(balanced: bool) -> float:
        """The mean probability of the rare class."""
        if epochs is None:
            head = fit.converged(part, part, classes=2, tell=silent, balanced=balanced)
        else:
            head = fit.in_epochs(part, part, fit.Passes(2, epochs, 0, balanced), tell=silent)
        return float(functional.softmax(head.logits(part.rows), 1)[:, 1].mean())

    assert expected(True) > expected(False) + 0.03


def test_lines_read_as_those_of_keras() -> None:
    figures = {"loss": 0.123449, "acc": 0.95, "val_loss": 0.1, "val_acc": 1.0}
    after = " - loss: 0.1234 - acc: 0.9500 - val_loss: 0.1000 - val_acc: 1.0000"
    assert fit.line({"epoch": 1, "epochs": 5, **figures}) == "Epoch 1/5" + after
    step = {"epoch": 2, "epochs": 6, "weight_decay": 0.3}
    assert fit.line({**step, **figures}) == "fit 2/6 - weight decay: 0.3" + after


def test_a_plain_run_imports_no_compiler(painted: Path, tmp_path: Path, train: Callable[..., object]) -> None:
    """With a warm cache, they would be a third of the processor time of a run. What torch itself imports is no fault
    of ours: 2.0 has sympy."""
    train(painted)
    script = (
        "import sys, torch; before = set(sys.modules); from trainer.__main__ import main; code = main(sys.argv[1:]); "
        "print('imported', *sorted({'torch._dynamo', 'torch._inductor', 'sympy', 'torchvision', 'matplotlib', "
        "'trainer.lbfgs', 'trainer.adam'} & set(sys.modules) - before)); sys.exit(code)"
    )
    words = ["--data", str(painted), "--cache", str(tmp_path / "cache"), "--device", DEVICE, "--batch-size", "8"]
    for more in ([], ["--epochs", "2"]):
        argv = [sys.executable, "-c", script, *words, "--out", str(tmp_path / f"plain{len(more)}"), *more]
        done = subprocess.run(argv, text=True, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == "imported trainer.adam trainer.lbfgs", done.stdout
