"""What a check finds, what it sets aside, and what it leaves alone."""

from __future__ import annotations

import io
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import encoded, jpeg, picture, tree, unpacked
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from orchestrator.cli.main import main
from orchestrator.data import decoding, likeness, looking
from orchestrator.data.check import Report, check
from orchestrator.data.findings import findings
from orchestrator.data.photos import contents
from orchestrator.data.thumbnails import thumbnail
from orchestrator.reporter import Silent
from trainer.run_folder import IMAGE_FORMATS

PHOTOGRAPHS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dogscats-kaggle"


def sound(folder: Path, count: int = 6) -> Path:
    files = {
        f"{part}/{c}/{i}.jpg": jpeg(1000 * p + 100 * n + i)
        for p, part in enumerate(("train", "valid"))
        for n, c in enumerate(("cat", "dog"))
        for i in range(count)
    }
    return unpacked(folder, files | {f"test/{i}.jpg": jpeg(5000 + i) for i in range(1, 4)})


def found(root: Path, *, fix: bool = False) -> Report:
    return check(root, "p", Silent(), fix=fix)


def kinds(report: Report) -> dict[str, list[tuple[str, ...]]]:
    return {finding.kind: finding.cases for finding in report.findings}


def test_a_sound_set_has_nothing(tmp_path: Path) -> None:
    sound(tmp_path / "p")
    assert kinds(found(tmp_path)) == {}
    before = tree(tmp_path)
    assert kinds(found(tmp_path, fix=True)) == {} and tree(tmp_path) == before


def test_copies_are_told_apart_by_what_they_mean(tmp_path: Path) -> None:
    root = sound(tmp_path / "p")
    unpacked(root, {"train/cat/again.jpg": jpeg(0), "train/dog/wrong.jpg": jpeg(1), "valid/dog/leak.jpg": jpeg(101)})
    unpacked(root, {"test/9.jpg": jpeg(2)})
    for name, change in {
        "train/cat/small.jpg": picture(3).resize((40, 30)),
        "valid/cat/bad.jpg": ImageOps.mirror(picture(4)),
        "train/dog/grey.jpg": picture(5).convert("L"),
    }.items():
        change.save(root / name, quality=60)
    report = kinds(found(tmp_path))
    assert report == {
        "leak": [("test/9.jpg", "train/cat/2.jpg"), ("valid/dog/leak.jpg", "train/dog/1.jpg")],
        "contradiction": [("train/cat/1.jpg", "train/dog/wrong.jpg")],
        "duplicate": [("train/cat/0.jpg", "train/cat/again.jpg")],
        "near leak": [("valid/cat/bad.jpg", "train/cat/4.jpg")],
        "near contradiction": [("train/cat/5.jpg", "train/dog/grey.jpg")],
        "near duplicate": [("train/cat/3.jpg", "train/cat/small.jpg")],
    }


def test_a_fix_keeps_what_is_measured_on(tmp_path: Path) -> None:
    root = sound(tmp_path / "p")
    copies = {"train/cat/again.jpg": jpeg(0), "valid/cat/again.jpg": jpeg(0), "train/dog/0a.jpg": jpeg(1101)}
    copies |= {"test/8.jpg": jpeg(1001), "test/9.jpg": jpeg(1001), "test/7.jpg": b"none"}
    copies |= {"train/dog/wrong.jpg": jpeg(1), "train/cat/cut.jpg": jpeg(77)[:300]}
    copies |= {"sample/train/cat/again.jpg": jpeg(0), "sample/train/cat/1.jpg": jpeg(1)}
    before = tree(unpacked(root, copies))
    moved = {one.place: one.to for one in found(tmp_path, fix=True).moved}
    gone = [
        "train/cat/0.jpg",
        "train/cat/again.jpg",
        "sample/train/cat/again.jpg",
        "train/dog/0a.jpg",
        "valid/cat/1.jpg",
    ]
    assert moved == {place: f".quarantine/{place}" for place in [*gone, "train/cat/cut.jpg"]}
    assert tree(root) == {moved.get(name, name): data for name, data in before.items()}
    left = kinds(found(tmp_path, fix=True))
    # Test images keep their rows, whatever they are; which of two classes is wrong, nobody knows.
    assert left == {
        "corrupt": [("test/7.jpg",)],
        "duplicate": [("test/8.jpg", "test/9.jpg")],
        "contradiction": [("train/cat/1.jpg", "train/dog/wrong.jpg")],
    }
    # A second one of a name finds another.
    unpacked(root, {"train/cat/cut.jpg": b"worse"})
    assert [one.to for one in found(tmp_path, fix=True).moved] == [".quarantine/train/cat/cut-2.jpg"]


@pytest.mark.parametrize("kind", ["MPO", *IMAGE_FORMATS, "EPS", "PPM", "TGA"])
def test_no_decoder_is_tried_that_a_data_set_has_no_use_for(tmp_path: Path, kind: str) -> None:
    """That of EPS would hand the bytes to Ghostscript."""
    file = tmp_path / "1.jpg"
    file.write_bytes(encoded(picture(1), kind))
    why = None if kind in ("MPO", *IMAGE_FORMATS) else "it is in no format that is known here"
    assert decoding.problem(file) == looking.look_at(file).problem == (thumbnail(file).problem or None) == why


def test_the_last_of_a_class_stays(tmp_path: Path) -> None:
    root = sound(tmp_path / "p", 1)
    (root / "train/cat/0.jpg").write_bytes(b"none")
    (root / "train/dog/0.jpg").write_bytes(jpeg(1100))
    report = found(tmp_path, fix=True)
    assert report.moved == [] and set(kinds(report)) == {"corrupt", "leak"}


def test_all_that_surprises_is_found(tmp_path: Path) -> None:
    root = sound(tmp_path / "p", 10)
    odd = {
        "train/.ipynb_checkpoints/1.jpg": jpeg(1),
        "train/cat/.DS_Store": b"x",
        "train/cat/notes.txt": b"x",
        "train/cat/more/1.jpg": jpeg(201),
        "train/loose.jpg": jpeg(202),
        "train/bird/": b"",
        "valid/Dog/1.jpg": jpeg(203),
        "train/cat/dog.7.jpg": jpeg(204),
        "train/cat/a\nb.jpg": jpeg(205),
        "train/cat/-rf.jpg": jpeg(206),
        "train/cat/9.JPG": jpeg(207),
        "train/cat/png.jpg": encoded(picture(208), "PNG"),
        "train/cat/tiny.jpg": jpeg(209, (6, 6)),
        "train/cat/long.jpg": jpeg(210, (400, 48)),
        "test/1.png": encoded(picture(211), "PNG"),
    }
    unpacked(root, odd)
    Path(os.fsdecode(os.fsencode(root) + b"/train/cat/\xff.jpg")).write_bytes(jpeg(212))
    (root / "train/cat/link.jpg").symlink_to("0.jpg")
    report = kinds(found(tmp_path))
    assert report["hidden"] == [("train/.ipynb_checkpoints",), ("train/cat/.DS_Store",)]
    assert report["stray"] == [("train/cat/more",), ("train/cat/notes.txt",), ("train/loose.jpg",)]
    assert report["classes"] == [("valid/Dog",), ("train/bird",)]
    assert report["empty"] == [("train/bird",)] and report["links"] == [("train/cat/link.jpg",)]
    assert report["ids"] == [("test/1.jpg", "test/1.png")]
    assert report["size"] == [("train/cat/long.jpg",), ("train/cat/tiny.jpg",)]
    named = {case for case in report["names"] if len(case) == 1}
    expected = {"a\nb.jpg", "-rf.jpg", "dog.7.jpg", "png.jpg", "\udcff.jpg"}
    assert named == {(f"train/cat/{name}",) for name in expected}
    assert {case for case in report["names"] if len(case) > 1} == {
        ("valid/Dog", "valid/dog"),
        ("train/cat/9.JPG", "train/cat/9.jpg"),
    }


def test_imbalance_is_said(tmp_path: Path) -> None:
    root = sound(tmp_path / "p")
    unpacked(root, {f"train/cat/{i}.jpg": jpeg(i) for i in range(10, 16)})
    assert kinds(found(tmp_path)) == {"imbalance": [("train/dog",)]}


def test_the_command_prints_a_table_and_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = sound(tmp_path / "data" / "p")
    monkeypatch.chdir(tmp_path)

    def gpu(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        return int(ended.value.code or 0), capsys.readouterr().out

    assert gpu("data", "check", "p", "--strict") == (0, "data/p: 27 images, no findings\n")
    (root / "train/cat/0.jpg").write_bytes(b"none")
    code, out = gpu("data", "check", "p")
    assert code == 0 and "corrupt      1  do not decode" in out
    assert "train/cat/0.jpg (it is in no format that is known here)" in out
    assert gpu("data", "check", "p", "--strict")[0] == 1
    document = json.loads(gpu("data", "check", "p", "--json", "--fix", "--strict")[1])
    assert document["findings"] == [] and document["moved"][0]["to"] == ".quarantine/train/cat/0.jpg"
    assert gpu("data", "check", "p", "--strict", "--fix")[0] == 0
    assert gpu("data", "check", "q")[0] == 2


PLACES = st.sampled_from(
    [f"{part}/{label}/{i}.jpg" for part in ("train", "valid") for label in ("cat", "dog") for i in range(4)]
    + [f"test/{i}.jpg" for i in range(4)]
)
FILES = {seed: jpeg(seed, (16, 16)) for seed in range(5)} | {9: b"none"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(PLACES, st.sampled_from(sorted(FILES)), min_size=4))
def test_a_fix_loses_nothing_and_is_done_once(tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, int]) -> None:
    top = tmp_path_factory.mktemp("fix")
    root = unpacked(top / "p", {name: FILES[seed] for name, seed in drawn.items()})
    before = tree(root)
    report = found(top, fix=True)
    moved = {one.place: one.to for one in report.moved}
    after = tree(root)
    assert after == {moved.get(name, name): data for name, data in before.items()}
    assert not any(place.startswith("test/") for place in moved)
    for folder in {name.rpartition("/")[0] for name in before}:
        assert any(name.startswith(folder + "/") for name in after), "no class may vanish"
    again = found(top, fix=True)
    assert again.moved == [] and kinds(again) == kinds(report)
    # What was said after the fix is what a new look says.
    now = contents(root)
    assert findings(now, looking.look_at_all(now.photos, Silent())) == report.findings


def test_where_all_looks_alike_only_the_same_counts() -> None:
    """Digits, drawn a little differently each: no copies; one of them saved anew is."""
    chance = random.Random(0)

    def digit(number: int) -> Image.Image:
        image = Image.new("L", (56, 56))
        font = ImageFont.load_default(chance.randint(34, 46))
        place = (14 + chance.randint(-5, 5), 2 + chance.randint(-4, 4))
        ImageDraw.Draw(image).text(place, str(number % 10), fill=255, font=font, stroke_width=chance.randint(0, 2))
        return image.rotate(chance.uniform(-15, 15))

    drawn = [digit(number) for number in range(600)]
    anew = Image.open(io.BytesIO(saved(drawn[7], 80)))
    sketches = {number: likeness.sketch(image) for number, image in enumerate([*drawn, anew])}
    pairs = set(likeness.pairs({number: each for number, each in sketches.items() if each is not None}))
    assert (7, 600) in pairs and len(pairs) < 60


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason="the photographs are not part of the project")
def test_altered_photographs_are_known_again(tmp_path: Path) -> None:
    """Of every alteration nearly all are found among 400 photographs, and one pair besides, which is one picture."""
    import zipfile

    with zipfile.ZipFile(PHOTOGRAPHS / "test.zip") as archive:
        photographs = [archive.read(name) for name in sorted(archive.namelist()) if name.endswith(".jpg")]
    changes = {
        "bad": lambda image: saved(image, 30),
        "mirror": lambda image: saved(ImageOps.mirror(image), 75),
        "small": lambda image: saved(image.resize((image.width * 2 // 5, image.height * 2 // 5)), 75),
        "bright": lambda image: saved(ImageEnhance.Brightness(image).enhance(1.3), 75),
        "grey": lambda image: saved(image.convert("L"), 75),
    }
    sketches = {number: sketched(data, tmp_path) for number, data in enumerate(photographs)}
    assert len(list(likeness.pairs(sketches))) == 1
    chosen = random.Random(0).sample(range(len(photographs)), 20)
    for name, change in changes.items():
        altered = {
            1000 + number: sketched(change(Image.open(io.BytesIO(photographs[number]))), tmp_path) for number in chosen
        }
        pairs = set(likeness.pairs(sketches | altered))
        assert sum((number, 1000 + number) in pairs for number in chosen) >= 19, name
        assert all(other - 1000 in chosen for _, other in pairs if other >= 1000)


def saved(image: Image.Image, quality: int) -> bytes:
    return encoded(image, quality=quality)


def sketched(data: bytes, folder: Path) -> likeness.Sketch:
    (folder / "one").write_bytes(data)
    found = looking.look_at(folder / "one").sketch
    assert found is not None
    return found
