"""The seven lines, as a student of 2016 typed them, and what was typed around them."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image

from trainer import errors, imagenet, models, probabilities
from trainer.errors import TrainerError
from trainer.vgg16 import Vgg16

from .conftest import COLOURS, paint
from .hardware import DEVICE

THREE = {"bird": (60, 180, 60), "cat": (200, 60, 40), "dog": (40, 60, 200)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photographs are painted again and again: they are looked at once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def vgg(cache: Path) -> Vgg16:
    return Vgg16("efficientnet_lite0", cache=cache, device=DEVICE)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A data set of three classes, its test photographs in `unknown/`, as the lesson has them."""
    root = tmp_path / "three"
    for label, (name, colour) in enumerate(THREE.items()):
        for part, count in (("train", 6), ("valid", 3)):
            for number in range(count):
                paint(root / part / name / f"{name}.{number}.jpg", colour, 100 * label + 10 * len(part) + number)
    for number, name in enumerate(("dog", "bird", "cat", "bird"), 9):
        paint(root / "test" / "unknown" / f"{number}.jpg", THREE[name], number)
    return root


def fitted(vgg: Vgg16, root: Path, **how: int | None) -> Vgg16:
    batches = vgg.get_batches(root / "train", batch_size=64)
    vgg.finetune(batches)
    vgg.fit(batches, vgg.get_batches(root / "valid", batch_size=128), **how)
    return vgg


def weight(vgg: Vgg16) -> bytes:
    assert vgg.model.head is not None
    return vgg.model.head.weight.numpy().tobytes() + vgg.model.head.bias.numpy().tobytes()


def test_the_seven_lines(painted: Path, vgg: Vgg16, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"{painted}/"
    batches = vgg.get_batches(path + "train", batch_size=64)
    val_batches = vgg.get_batches(path + "valid", batch_size=128)
    vgg.finetune(batches)
    vgg.fit(batches, val_batches, nb_epoch=1)
    said = capsys.readouterr().out
    assert "Found 16 images belonging to 2 classes.\nFound 8 images belonging to 2 classes.\n" in said
    assert "\nEpoch 1/1\n16/16 [==============================] - " in said
    assert said.rstrip().endswith("- val_acc: 1.0000")
    assert vgg.classes == ["cat", "dog"]
    batches, preds = vgg.test(path + "test", batch_size=8)
    assert batches.filenames == [f"{number}.jpg" for number in range(1, 12)]
    assert preds.shape == (11, 2) and preds.dtype == numpy.float32
    assert preds.sum(axis=1) == pytest.approx(1)
    # The file's own answer: the odd ones are dogs.
    assert [int(name.split(".")[0]) % 2 for name in batches.filenames] == preds.argmax(axis=1).tolist()
    whole, again = vgg.test(painted)
    assert whole.directory == painted / "test" and (again == preds).all()


def test_a_batch_is_images_and_labels(painted: Path, vgg: Vgg16) -> None:
    batches = vgg.get_batches(painted / "train", batch_size=6)
    assert batches.class_indices == {"cat": 0, "dog": 1}
    assert batches.filenames[:2] == ["cat/cat.0.jpg", "cat/cat.1.jpg"]
    assert batches.classes.tolist() == [0] * 8 + [1] * 8
    assert (batches.nb_sample, batches.samples, batches.n, batches.nb_class, len(batches)) == (16, 16, 16, 2, 3)
    imgs, labels = next(batches)
    assert imgs.shape == (6, 3, 224, 224) and imgs.dtype == numpy.float32
    assert labels.shape == (6, 2) and labels.dtype == numpy.float32
    red, blue = imgs[:, 0].mean(axis=(1, 2)), imgs[:, 2].mean(axis=(1, 2))
    # 0, 1 is a dog, and dogs are blue.
    assert (labels[:, 1] == (blue > red)).all() and (labels.sum(axis=1) == 1).all()
    assert 150 < max(red.max(), blue.max()) <= 255
    # An epoch has every photograph once, its last batch what is left; the next one is in another order.
    epoch = [len(labels), *(len(next(batches)[1]) for _ in range(2))]
    assert epoch == [6, 6, 4]
    assert not numpy.array_equal(next(batches)[0], imgs)
    assert numpy.array_equal(next(vgg.get_batches(painted / "train", batch_size=6))[0], imgs)
    for mode, shape in (("binary", (4,)), ("sparse", (4,))):
        assert next(vgg.get_batches(painted / "train", batch_size=4, class_mode=mode))[1].shape == shape


def test_every_epoch_has_every_photograph_once(three: Path, vgg: Vgg16) -> None:
    batches = vgg.get_batches(three / "train", batch_size=5)
    for _ in range(2):
        seen = numpy.concatenate([next(batches)[0] for _ in range(len(batches))])
        assert len({image.tobytes() for image in seen}) == 18 == len(seen)


def test_it_knows_imagenet_before_it_is_told_otherwise(painted: Path, vgg: Vgg16) -> None:
    assert len(vgg.classes) == 1000 and vgg.classes[281] == "tabby"
    imgs, _ = next(vgg.get_batches(painted / "train", batch_size=4))
    probs, numbers, classes = vgg.predict(imgs, True)
    assert probs.shape == numbers.shape == (4,)
    assert classes == [imagenet.names()[number] for number in numbers]
    assert probs == pytest.approx(vgg.model.predict(imgs).max(axis=1))
    with pytest.raises(TrainerError, match=r"Call finetune\(batches\) before fit"):
        vgg.fit(vgg.get_batches(painted / "train"), vgg.get_batches(painted / "valid"))


def test_the_published_head_gives_what_the_whole_network_does(tmp_path: Path, painted: Path) -> None:
    """Against torch's own way through all layers, for photograph and mirror image."""
    import torch

    model = "resnet18"
    network = models.build(model)
    for part in network.whole.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_var.uniform_(0.5, 2)
    torch.save(network.whole.state_dict(), tmp_path / "weights.pth")
    vgg = Vgg16(model, weights=tmp_path / "weights.pth", device=DEVICE)
    imgs, _ = next(vgg.get_batches(painted / "train", batch_size=2))
    how = models.preprocessing(model)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (how.mean, how.std))
    inputs = (torch.from_numpy(imgs) / 255 - mean) / std
    with torch.inference_mode():
        logits = (network.whole(inputs) + network.whole(inputs.flip(3))) / 2
    expected = probabilities.softmax(logits.double().numpy())
    assert vgg.model.predict(imgs) == pytest.approx(expected, rel=0.1)
    weight = torch.ones(1000, network.width)
    for published, found in (
        ({"fc.weight": weight}, (weight, torch.zeros(1000))),
        ({"fc.weight": weight, "fc.bias": weight[:, 0]}, (weight, weight[:, 0])),
    ):
        head = models.published_head(network, published)
        assert head is not None and all(torch.equal(one, other) for one, other in zip(head, found, strict=True))
    assert models.published_head(network, {"fc.weight": weight[:, 1:]}) is None


def test_two_fits_of_one_pass_are_one_of_two(painted: Path, cache: Path, tmp_path: Path) -> None:
    def made(seed: int = 0, cache: Path = cache) -> Vgg16:
        return Vgg16("efficientnet_lite0", cache=cache, seed=seed, device=DEVICE)

    two = fitted(made(cache=tmp_path / "cold"), painted, nb_epoch=2)
    again = fitted(made(cache=tmp_path / "colder"), painted, nb_epoch=1)
    once = weight(again)
    again.fit(again.get_batches(painted / "train"), again.get_batches(painted / "valid"))
    assert weight(again) == weight(two) != once
    assert weight(fitted(made(seed=1), painted, nb_epoch=2)) != weight(two)
    # Other photographs: on from the same head, with an optimizer that begins anew.
    paint(painted / "train" / "cat" / "more.jpg", COLOURS["cat"], 77)
    before = weight(again)
    again.fit(again.get_batches(painted / "train"), again.get_batches(painted / "valid"))
    assert weight(again) != before
    slow = fitted(made(), painted, nb_epoch=1)
    slow.compile(lr=1e-12)
    kept = slow.model.head.weight.clone()
    slow.fit(slow.get_batches(painted / "train"), slow.get_batches(painted / "valid"))
    assert slow.model.head.weight.numpy() == pytest.approx(kept.numpy(), rel=1e-8)
    slow.model.optimizer.lr = 0.1
    slow.fit(slow.get_batches(painted / "train"), slow.get_batches(painted / "valid"))
    assert abs(slow.model.head.weight - kept).max() > 1e-3


class Interrupted(io.StringIO):
    """A stream in which Ctrl-C strikes as the second epoch is told."""

    def write(self, text: str) -> int:
        if "Epoch 2/" in text:
            raise KeyboardInterrupt
        return super().write(text)


def test_an_interrupted_fit_leaves_what_was_there(painted: Path, vgg: Vgg16, cache: Path) -> None:
    fitted(vgg, painted)
    before = weight(vgg)
    flows = vgg.get_batches(painted / "train"), vgg.get_batches(painted / "valid")
    with pytest.raises(KeyboardInterrupt), contextlib.redirect_stdout(Interrupted()):
        vgg.fit(*flows, nb_epoch=3)
    assert weight(vgg) == before
    vgg.fit(*flows, nb_epoch=2)
    assert weight(vgg) == weight(fitted(Vgg16("efficientnet_lite0", cache=cache, device=DEVICE), painted, nb_epoch=3))


def test_three_classes(three: Path, vgg: Vgg16, capsys: pytest.CaptureFixture[str]) -> None:
    fitted(vgg, three, nb_epoch=None)
    assert "val_acc: 1.0000" in capsys.readouterr().out
    imgs, labels = next(vgg.get_batches(three / "valid", batch_size=9))
    assert labels.shape == (9, 3)
    probs, numbers, classes = vgg.predict(imgs)
    assert (numbers == labels.argmax(axis=1)).all() and set(classes) == set(THREE)
    assert probs.min() > 1 / 3
    batches, preds = vgg.test(three / "test")
    assert batches.filenames == [f"unknown/{number}.jpg" for number in range(9, 13)]
    assert [vgg.classes[number] for number in preds.argmax(axis=1)] == ["dog", "bird", "cat", "bird"]


def test_arrays_are_learned_from_as_files_are(three: Path, vgg: Vgg16) -> None:
    fitted(vgg, three)
    by_files = vgg.model.head.weight.numpy()
    trn, labels = next(vgg.get_batches(three / "train", shuffle=False, batch_size=64))
    val, val_labels = next(vgg.get_batches(three / "valid", shuffle=False, batch_size=64))
    vgg.ft(3)
    assert vgg.classes == ["0", "1", "2"]
    vgg.fit_data(trn, labels, val, val_labels, nb_epoch=1)
    assert vgg.model.head.weight.numpy() == pytest.approx(by_files, rel=0.2, abs=2e-3)
    assert (vgg.predict(val)[1] == val_labels.argmax(axis=1)).all()
    with pytest.raises(TrainerError, match=r"the labels have the shape \(18,\)"):
        vgg.fit_data(trn, labels.argmax(axis=1), val, val_labels)


def test_images_in_every_form_are_the_same_images(painted: Path, vgg: Vgg16) -> None:
    fitted(vgg, painted)
    file = painted / "valid" / "dog" / "dog.1.jpg"
    whole = numpy.asarray(Image.open(file))
    imgs = next(vgg.get_batches(painted / "valid", shuffle=False, batch_size=8))[0][5:6]
    expected = vgg.model.predict(imgs)
    last = imgs.transpose(0, 2, 3, 1)
    for form in (last, last.astype(numpy.uint8), imgs.astype(numpy.float64), list(imgs), imgs[0], last.astype(int)):
        assert numpy.array_equal(vgg.model.predict(form), expected)
    # Of its own size: fitted here as the file was, but for the JPEG's scaled decoding.
    assert vgg.model.predict([whole, whole.transpose(2, 0, 1)]) == pytest.approx(expected.repeat(2, 0), abs=0.02)
    assert vgg.predict(numpy.zeros((0, 3, 224, 224)))[0].shape == (0,)
    for wrong, why in (
        (imgs / 255, "from 0 to 1. .*multiply by 255"),
        (imgs - 128, "go from -"),
        (imgs[:, :1], "is no image"),
        (imgs * numpy.nan, "no numbers"),
    ):
        with pytest.raises(TrainerError, match=why):
            vgg.predict(wrong)


def test_what_cannot_be_read_is_named_and_never_has_a_neighbours_answer(
    three: Path, vgg: Vgg16, capsys: pytest.CaptureFixture[str]
) -> None:
    (three / "train" / "cat" / "cat.2.jpg").write_bytes(b"")
    (three / "valid" / "dog" / "dog.0.jpg").write_bytes(b"no photograph")
    (three / "test" / "unknown" / "10.jpg").write_bytes((three / "test" / "unknown" / "11.jpg").read_bytes()[:300])
    fitted(vgg, three)
    said = capsys.readouterr().out
    assert "warning: " in said and "cat.2.jpg cannot be used (it is empty): it is left out" in said
    assert "dog.0.jpg cannot be used" in said and "17/17 [====" in said
    batches, preds = vgg.test(three / "test")
    assert "10.jpg cannot be used" in capsys.readouterr().out
    assert batches.filenames[1] == "unknown/10.jpg"
    assert preds[1] == pytest.approx(numpy.array([6, 5, 6]) / 17)
    assert [vgg.classes[number] for number in preds[[0, 2, 3]].argmax(axis=1)] == ["dog", "cat", "bird"]
    batches = vgg.get_batches(three / "train", batch_size=4)
    epochs = [len(next(batches)[1]) for _ in range(2 * len(batches))]
    assert sum(epochs) == 2 * 17 and 3 in epochs
    assert capsys.readouterr().out.count("cat.2.jpg cannot be used") == 1
    for file in (three / "train" / "cat").iterdir():
        file.write_bytes(b"")
    with pytest.raises(TrainerError, match=r"none of the photographs in .*cat can be read"):
        fitted(vgg, three)


def test_weights_are_kept_and_taken_up(three: Path, painted: Path, tmp_path: Path, vgg: Vgg16, cache: Path) -> None:
    fitted(vgg, three)
    vgg.save_weights(tmp_path / "ft0.safetensors")
    _, preds = vgg.test(three)
    other = Vgg16("efficientnet_lite0", cache=cache, device=DEVICE)
    other.load_weights(str(tmp_path / "ft0.safetensors"))
    assert other.classes == list(THREE)
    assert numpy.array_equal(other.test(three)[1], preds)
    with pytest.raises(TrainerError, match="has the classes cat, dog, and the network was made for bird, cat, dog"):
        other.fit(other.get_batches(painted / "train"), other.get_batches(painted / "valid"))
    for content in (b"", b"{}", (tmp_path / "ft0.safetensors").read_bytes()[:-8]):
        (tmp_path / "wrong").write_bytes(content)
        with pytest.raises(TrainerError, match="was not written by save_weights"):
            other.load_weights(tmp_path / "wrong")
    with pytest.raises(TrainerError, match="nowhere cannot be read"):
        other.load_weights(tmp_path / "nowhere")
    with pytest.raises(TrainerError, match="cannot be written"):
        other.save_weights(tmp_path / "no" / "folder")
    import torch

    torch.save(models.build("resnet18").whole.state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(TrainerError, match="was learned on efficientnet_lite0"):
        Vgg16("resnet18", weights=tmp_path / "resnet18.pth", device=DEVICE).load_weights(tmp_path / "ft0.safetensors")


def test_a_path_is_a_path(painted: Path, vgg: Vgg16, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(painted.parent)
    for path in ("painted/train", "painted/train/", "paintedtrain", painted / "train", f"{painted}train"):
        assert vgg.get_batches(path).nb_sample == 16
    for path in ("paintedsample/train", "painted/sampletrain", "painted/sample/train/"):
        assert vgg.get_batches(path).nb_sample == 6
    assert len(vgg.test("paintedtest")[1]) == 11


def test_what_was_expected_is_said(painted: Path, vgg: Vgg16, tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir()
    paint(tmp_path / "loose" / "1.jpg", COLOURS["cat"], 1)
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    for path, why in (
        ("nowhere/train", "there is no folder .*nowhere/train. Expected are train/cat/"),
        ("loose", "has photographs, but no class folder. Expected"),
        ("empty", "the class folder .*cat has no photographs"),
    ):
        with pytest.raises(TrainerError, match=why) as caught:
            vgg.get_batches(tmp_path / path)
        # In a notebook, too, it is one sentence.
        assert caught.value._render_traceback_() == [f"{type(caught.value).__name__}: {caught.value}"]
    with pytest.raises(TrainerError, match=r"has no photographs\. Expected"):
        vgg.test(tmp_path / "empty")
    with pytest.raises(TrainerError, match="only the class 0"):
        vgg.ft(1)
    with pytest.raises(TrainerError, match="nb_epoch is 0"):
        fitted(vgg, painted, nb_epoch=0)
    with pytest.raises(TrainerError, match="taken without labels"):
        vgg.fit(*[vgg.get_batches(painted / "train", class_mode=None)] * 2)
    with pytest.raises(errors.UsageError, match="there is no class_mode 'one'"):
        vgg.get_batches(painted / "train", class_mode="one")  # type: ignore[arg-type]
    with pytest.raises(errors.UsageError, match="batch of 0"):
        vgg.get_batches(painted / "train", batch_size=0)
    with pytest.raises(TrainerError, match="nan is no rate"):
        vgg.compile(lr=float("nan"))


def test_weights_that_cannot_be_had_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_WEIGHTS_MIRROR", "http://127.0.0.1:1")
    choices = r'Give a file at hand, Vgg16\("vgg16", weights=FILE\), or take Vgg16\("efficientnet_lite0"\)'
    with pytest.raises(TrainerError, match=f"the weights of vgg16 cannot be had from .*{choices}"):
        Vgg16(device=DEVICE)
    with pytest.raises(TrainerError, match=f"nowhere.pth cannot be read: .*{choices}"):
        Vgg16(weights=tmp_path / "nowhere.pth")
    with pytest.raises(errors.UsageError, match=r"there is no model resnet35\. The nearest names are .*resnet34"):
        Vgg16("resnet35")
    import torch

    headless = {k: v for k, v in models.build("resnet18").whole.state_dict().items() if not k.startswith("fc.")}
    torch.save(headless, tmp_path / "headless.pth")
    vgg = Vgg16("resnet18", weights=tmp_path / "headless.pth", device=DEVICE)
    with pytest.raises(TrainerError, match="resnet18 has no head for ImageNet's classes"):
        vgg.predict(numpy.zeros((1, 3, 224, 224)), True)


def test_the_layers_are_told(vgg: Vgg16, painted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted(vgg, painted)
    capsys.readouterr()
    vgg.model.summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split() == ["classifier.1", "(learns)", "2,560"]
    assert int(lines[-1].split()[1].replace(",", "")) == sum(
        int(line.split()[-1].replace(",", "")) for line in lines[:-1]
    )


def test_importing_it_takes_no_plotting_library(painted: Path) -> None:
    code = (
        f"import sys; from trainer.vgg16 import Vgg16, plots; vgg = Vgg16('efficientnet_lite0', device='{DEVICE}')\n"
        "next(vgg.get_batches(sys.argv[1]))\n"
        "sys.exit(str({'matplotlib', 'torchvision'} & sys.modules.keys() or '') or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, painted / "train"], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
