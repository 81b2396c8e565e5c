"""Training through the network: what learns, how fast, that it is exact, and that it does no harm."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from trainer import data, layers, models, ratefinder, tune, views
from trainer.augment import Augmentation
from trainer.batches import Epochs
from trainer.errors import TrainerError
from trainer.forward import Forward
from trainer.images import decode
from trainer.interruption import held
from trainer.microbatch import Gradient, balanced
from trainer.optimizer import Optimizer
from trainer.plan import Plan, Seams

from .hardware import DEVICE
from .nursery import nursery
from .tuning import HOW, small

HERE = torch.device(DEVICE)
QUICK = Plan(epochs=3, layers=2, batch=4, rates=(1e-4, 1e-3), patience=99)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Networks as small as these gain nothing from more, and other tests run beside this one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Heard(list[dict[str, Any]]):
    """Seams to nowhere, with what they heard."""

    def __init__(self, folder: Path, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.seams = Seams(HERE, folder / "tune.safetensors", self.lines.append, self.append, precision)


def through(painted: Path, network: models.Network, plan: Plan, heard: Heard) -> tune.Tuned:
    found = data.walk(painted)
    return tune.through(network, (found.train, found.valid), HOW, plan, heard.seams)


def state(network: models.Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.whole.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "count"),
    [("vgg16", 16), ("resnet18", 10), ("efficientnet_lite0", 19), ("squeezenet1_1", 10), ("vit_b_32", 14)],
)
def test_every_parameter_is_in_one_layer_and_the_head_is_last(name: str, count: int) -> None:
    network = models.build(name)
    found = layers.layers(network)
    names = [parameter for layer in found for parameter in layer.parameters]
    assert sorted(names) == sorted(name for name, _ in network.whole.named_parameters())
    assert len(found) == count and found[-1].name == network.head


def test_the_last_layers_learn_the_later_the_faster_and_norms_without_decay() -> None:
    network = small()
    chosen = layers.unfreeze(network, 3)
    assert [layer.name for layer in chosen] == ["stage4.2", "stage4.3", "conv5.0", "fc"]
    learning = {name for name, parameter in network.whole.named_parameters() if parameter.requires_grad}
    assert learning == {name for layer in chosen for name in layer.parameters}
    made = layers.groups(chosen, (1e-5, 1e-2), 0.1)
    rates = sorted({group["highest"] for group in made})
    assert rates == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
    for group in made:
        assert {parameter.ndim >= 2 for parameter in group["params"]} == {group["weight_decay"] == 0.1}
    assert len(layers.unfreeze(network, None)) == len(layers.unfreeze(network, 999)) == 19


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_parts_of_a_batch_add_up_to_the_gradient_of_the_whole(painted: Path, size: int) -> None:
    network = small()
    layers.unfreeze(network, None)
    network.whole.to(HERE)
    photos = data.walk(painted).train[:8]
    (batch,) = Epochs(photos, Augmentation(HOW, 0.3, 0), 8).run(0, 0)
    gradients = []
    for at_once in (8, size):
        gradient = Gradient(Forward(network.whole, HOW, HERE), balanced([0, 0, 0, 1], 2).to(HERE), at_once, print)
        # A GPU's convolutions would else keep ten bits of the mantissa.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            loss, _ = gradient.of(batch, lambda loss: loss)
        gradients.append({name: parameter.grad for name, parameter in network.whole.named_parameters()})
    assert math.isfinite(loss)
    for name, whole in gradients[0].items():
        assert whole is not None
        torch.testing.assert_close(gradients[1][name], whole, rtol=1e-4, atol=1e-6)


def test_rare_classes_count_as_much_as_common_ones() -> None:
    weights = balanced([0, 0, 0, 1], 3)
    assert (weights[:2] * torch.tensor([3, 1])).tolist() == pytest.approx([4 / 3, 4 / 3])


def test_it_learns_and_batch_norm_keeps_its_statistics(painted: Path, tmp_path: Path) -> None:
    network, heard = small(), Heard(tmp_path)
    before = state(network)
    tuned = through(painted, network, replace(QUICK, balanced=True, views=3), heard)
    after = network.whole.state_dict()
    assert tuned.helped and tuned.history[tuned.epoch]["val_loss"] < tuned.history[0]["val_loss"]
    assert heard == tuned.history and [entry["epoch"] for entry in heard] == [0, 1, 2, 3]
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for layer in layers.unfreeze(network, 2) for name in layer.parameters}, "or not those alone"
    assert tuned.layers == ("stage4.3", "conv5.0", "fc") and tuned.at_once == 4


def test_what_does_not_help_is_not_kept(painted: Path, tmp_path: Path) -> None:
    network, heard = small(), Heard(tmp_path)
    tuned = through(painted, network, replace(QUICK, epochs=4), heard)
    before = state(network)
    again = through(painted, network, replace(QUICK, rates=(1.0, 1.0), patience=2, epochs=9), heard)
    assert tuned.helped and not again.helped
    assert len(again.history) <= 1 + 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.whole.state_dict().items())


def test_a_training_that_diverges_says_so_and_keeps_what_was(painted: Path, tmp_path: Path) -> None:
    network, heard = small(), Heard(tmp_path)
    before = state(network)
    tuned = through(painted, network, replace(QUICK, rates=(1e30, 1e30)), heard)
    assert not tuned.helped and any("the rates are too high" in line for line in heard.lines)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.whole.state_dict().items())
    assert all(math.isfinite(number) for entry in heard for number in entry.values())


def test_the_seed_decides_and_nothing_else_does(painted: Path, tmp_path: Path) -> None:
    made = []
    for number, seed in enumerate((1, 1, 2)):
        network = small()
        torch.manual_seed(number)
        (tmp_path / str(number)).mkdir()
        tuned = through(painted, network, replace(QUICK, seed=seed), Heard(tmp_path / str(number)))
        made.append((state(network), [entry["val_loss"] for entry in tuned.history]))
    assert made[0][1] == made[1][1] and made[0][1] != made[2][1]
    assert all(torch.equal(tensor, made[1][0][name]) for name, tensor in made[0][0].items())


def test_a_checkpoint_of_other_photographs_is_not_taken(painted: Path, tmp_path: Path) -> None:
    heard = Heard(tmp_path)
    through(painted, small(), QUICK, heard)
    through(painted, small(), QUICK, heard)
    assert "after 12 of 12 steps" in heard.lines[-1] and heard[4:] == heard[:4]
    (one, other) = (painted / "valid" / "cat" / f"cat.{number}.jpg" for number in (0, 1))
    one.write_bytes(other.read_bytes())
    heard.lines.clear()
    through(painted, small(), QUICK, heard)
    assert not heard.lines


def test_a_photograph_that_has_gone_is_named(painted: Path, tmp_path: Path) -> None:
    found = data.walk(painted)
    (painted / "train" / "dog" / "dog.3.jpg").write_bytes(b"no photograph")
    with pytest.raises(TrainerError, match=r"dog\.3\.jpg can no longer be read"):
        tune.through(small(), (found.train, found.valid), HOW, QUICK, Heard(tmp_path).seams)


@pytest.mark.skipif(DEVICE != "cpu", reason="the limit is on the processor's memory")
def test_too_little_memory_halves_the_parts_and_keeps_the_batch(painted: Path, tmp_path: Path) -> None:
    """A real limit on the address space, in a process of its own."""
    log = tmp_path / "log"
    # So that what the limit counts is what is in use: memory goes back as soon as it is free.
    plain = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    with nursery(**plain) as processes:
        words = ["--model", "squeezenet1_1", "--layers", 12, "--batch", 16, "--epochs", 2, "--size", 160]
        assert processes.begin("tests.trainer.tuning", log, painted, tmp_path, *words, "--room", 140).wait() == 0
    said = log.read_text()
    assert "memory does not suffice: 8 photographs at a time from here on; the batch stays at 16" in said
    assert said.count("epoch ") == 3 and 1 <= int(said.split("at once ")[1].split()[0]) <= 8


@pytest.mark.skipif(not hasattr(torch.amp, "GradScaler"), reason="before torch 2.3 only a GPU has it")
def test_the_scaling_of_float16_is_in_the_checkpoint(painted: Path, tmp_path: Path) -> None:
    """The training is broken off where the scale has just been changed by an overflow."""

    class Struck(BaseException):
        pass

    def strike(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 2:
            raise Struck

    plan = replace(QUICK, augment=0.0)
    whole = through(painted, small(), plan, Heard(tmp_path, torch.float16))
    out = tmp_path / "struck"
    out.mkdir()
    heard = Heard(out, torch.float16)
    network = small()
    with pytest.raises(Struck):
        found = data.walk(painted)
        tune.through(small(), (found.train, found.valid), HOW, plan, replace(heard.seams, tell=strike))
    assert '"scaling": {"scale"' in str((out / "tune.safetensors").read_bytes()[:20000]).replace("\\\\", "")
    through(painted, network, plan, heard)
    assert "going on" in heard.lines[0]
    mine, theirs = network.whole.state_dict(), whole.network.whole.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_optimizer_goes_on_where_it_was(tmp_path: Path) -> None:
    """To the bit, in the order in memory that the parameters have."""
    made = []
    for broken_off in (False, True):
        network = small()
        network.whole.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        chosen = layers.unfreeze(network, 3)
        optimizer = Optimizer(chosen, QUICK, Heard(tmp_path).seams)
        draw = torch.Generator().manual_seed(1)
        for step in range(4):
            if broken_off and step == 2:
                tensors = {name: tensor.contiguous().clone() for name, tensor in optimizer.tensors().items()}
                optimizer = Optimizer(chosen, QUICK, Heard(tmp_path).seams)
                optimizer.restore(tensors, {})
            for layer in chosen:
                for parameter in layer.parameters.values():
                    parameter.grad = torch.randn(parameter.shape, generator=draw)
            optimizer.step(0.5, 0.9)
        made.append(state(network))
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_views_are_the_mean_of_what_they_show_and_name_the_broken(painted: Path) -> None:
    forward = Forward(small().whole.to(HERE), HOW, HERE)
    paths = [painted / "test" / f"{number}.jpg" for number in range(1, 6)]
    paths[3].write_bytes(b"")
    found = views.logits(forward, paths, 2, 2)
    assert list(found.broken) == [3] and not found.rows[3].any()
    pixels = torch.from_numpy(decode(paths[0].read_bytes(), HOW).copy())[None]
    both = (forward.answers(pixels) + forward.answers(pixels.flip(2))) / 2
    assert found.rows[0] == pytest.approx(both[0].numpy(), abs=1e-5)
    many = [views.logits(forward, paths, count, 2).rows for count in (1, 2, 5, 10)]
    assert all(not numpy.allclose(one, other) for one, other in itertools.pairwise(many))


def test_an_answer_that_float16_cannot_hold_is_computed_again() -> None:
    whole = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * HOW.size**2, 2))
    torch.nn.init.constant_(whole[1].weight, 100.0)
    try:
        found = Forward(whole.to(HERE), HOW, HERE, torch.float16).answers(torch.full((2, HOW.size, HOW.size, 3), 255))
    except RuntimeError as error:
        pytest.skip(f"this torch has no float16 here: {error}")
    assert found.isfinite().all() and found.abs().max() > 65504


def test_the_rate_finder_leaves_the_network_and_finds_the_same_again(painted: Path, tmp_path: Path) -> None:
    network, heard = small(), Heard(tmp_path)
    before = copy.deepcopy(state(network))
    photos = data.walk(painted).train
    sweep = ratefinder.Sweep(first=1e-5, last=10, steps=60)
    curves = [ratefinder.find(network, photos, HOW, QUICK, heard.seams, sweep) for _ in range(2)]
    assert curves[0] == curves[1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.whole.state_dict().items())
    curve = curves[0]
    assert curve.suggestion is not None and 1e-5 < curve.suggestion < 1
    assert len(curve.rates) == len(curve.losses) == len(curve.smoothed) < 60, "it did not end when the loss ran away"
    plan = ratefinder.suggested(QUICK, curve)
    assert plan.rates == pytest.approx((curve.suggestion / 10, curve.suggestion))
    assert curve.png().startswith(b"\x89PNG")


def test_the_valley_is_the_middle_of_the_longest_descent() -> None:
    rates = [float(number) for number in range(10)]
    assert ratefinder.valley(rates, [5, 5, 4, 3, 2, 1, 0.5, 6, 7, 8]) == 3
    assert ratefinder.valley(rates, [5.0] * 10) is None
    assert ratefinder.valley([], []) is None


@pytest.mark.parametrize("raised", [KeyboardInterrupt])
def test_a_signal_waits_for_the_end_of_a_step(raised: type[BaseException]) -> None:
    import signal

    done = []
    with pytest.raises(raised), held():
        signal.raise_signal(signal.SIGINT)
        done.append("whole")
    assert done == ["whole"]
