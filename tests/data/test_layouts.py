"""However the images come, each finds its class, and none is lost."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import contents, jpeg, tarred, tree, unpacked, zip_bytes, zipped

from orchestrator.data import holdout, layout
from orchestrator.data.layout import Counts
from orchestrator.data.prepare import prepare
from orchestrator.data.split import Amount, Shares
from orchestrator.errors import GpuError
from orchestrator.reporter import Silent


def class_folders(prefix: str = "", classes: tuple[str, ...] = ("cat", "dog"), count: int = 5) -> dict[str, bytes]:
    return {f"{prefix}{c}/{i}.jpg": jpeg(100 * n + i) for n, c in enumerate(classes) for i in range(count)}


class Said(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def made(root: Path, *sources: Path, **options: object) -> Counts:
    return prepare("p", sources, root=root, reporter=Silent(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "archive/",
        "archive/dataset/",
        "train/",
        "archive/dataset/train/",
        "seg/train/train/",
        "training_set/training_set/",
    ],
)
@pytest.mark.parametrize("form", ["zip", "tgz", "tar", "folder"])
def test_class_folders_wherever_they_are_nested(tmp_path: Path, prefix: str, form: str) -> None:
    files = class_folders(prefix)
    make = {
        "zip": lambda: zipped(tmp_path / "a.zip", files),
        "tgz": lambda: tarred(tmp_path / "a.tgz", files),
        "tar": lambda: tarred(tmp_path / "a.tar", files, "w"),
        "folder": lambda: unpacked(tmp_path / "a", files),
    }
    assert made(tmp_path / "d", make[form]()) == Counts({"cat": 4, "dog": 4}, {"cat": 1, "dog": 1}, 0, 0)
    assert contents(tmp_path / "d" / "p") == sorted(files.values())


def test_parts_of_their_own_stay_as_they_are(tmp_path: Path) -> None:
    files = class_folders("x/training_set/") | class_folders("x/val/", count=2) | {"x/test/9.jpg": jpeg(9)}
    counts = made(tmp_path / "d", zipped(tmp_path / "a.zip", files))
    assert counts == Counts({"cat": 5, "dog": 5}, {"cat": 2, "dog": 2}, 1, 0)
    below = {f"{c}/{part}/{i}.jpg": jpeg(i) for c in ("cat", "dog") for part in ("train", "val") for i in range(3)}
    assert made(tmp_path / "e", unpacked(tmp_path / "b", below)) == Counts(
        {"cat": 3, "dog": 3}, {"cat": 3, "dog": 3}, 0, 0
    )


def test_a_data_set_without_its_valid_makes_another(tmp_path: Path) -> None:
    """As the refusal says. Its `sample/` holds copies, which are in no part of the new one."""
    made(tmp_path, zipped(tmp_path / "a.zip", class_folders(count=10)))
    shutil.rmtree(tmp_path / "p" / "valid")
    with pytest.raises(GpuError) as refused:
        layout.find(tmp_path, "p")
    *_, name, source = shlex.split(str(refused.value).removesuffix("."))
    said = Said()
    prepare(name, [Path(source)], root=tmp_path, reporter=said)
    assert layout.find(tmp_path, name) == tmp_path / "p-2"
    half = {folder: contents(tmp_path / "p-2" / folder) for folder in ("train", "valid")}
    assert sorted(half["train"] + half["valid"]) == sorted(contents(tmp_path / "p" / "train"))
    assert "left out, since they lie beside train/, valid/ and test/: 'sample/" in said.lines[0]


def test_a_class_may_be_called_sample(tmp_path: Path) -> None:
    files = {f"{label}/train/{i}.jpg": jpeg(n * 10 + i) for n, label in enumerate(("sample", "dog")) for i in range(5)}
    assert made(tmp_path / "d", zipped(tmp_path / "a.zip", files)).train == {"dog": 4, "sample": 4}


def test_an_archive_of_archives_is_a_competition(tmp_path: Path) -> None:
    train = {f"train/{c}.{i}.jpg": jpeg(i) for c in ("cat", "dog") for i in range(5)}
    inner = {
        "train.zip": zip_bytes(train),
        "test1.zip": zip_bytes({"test1/1.jpg": jpeg(7)}),
        "sampleSubmission.csv": b"id",
    }
    whole = zipped(tmp_path / "dogs-vs-cats.zip", inner)
    assert made(tmp_path / "d", whole) == Counts({"cat": 4, "dog": 4}, {"cat": 1, "dog": 1}, 1, 0)
    assert made(tmp_path / "e", unpacked(tmp_path / "downloads", inner)).test == 1
    evil = zip_bytes({"train/../../x.jpg": b"x"})
    with pytest.raises(GpuError, match=r"outer\.zip/train\.zip is refused.*climbs out"):
        made(tmp_path / "f", zipped(tmp_path / "outer.zip", {"train.zip": evil}))
    assert list((tmp_path / "f").iterdir()) == []


def test_a_folder_or_an_archive_a_class(tmp_path: Path) -> None:
    cats, dogs = ({f"{i}.jpg": jpeg(start + i) for i in range(5)} for start in (0, 50))
    counts = made(tmp_path / "d", unpacked(tmp_path / "cats", cats), zipped(tmp_path / "dogs.zip", dogs))
    assert counts == Counts({"cats": 4, "dogs": 4}, {"cats": 1, "dogs": 1}, 0, 0)


@pytest.mark.parametrize("prefix", ["", "pets/", "pets/train/"])
def test_an_empty_class_folder_is_said(tmp_path: Path, prefix: str) -> None:
    files = class_folders(prefix) | {f"{prefix}bird/": b"", "pets/": b""}
    with pytest.raises(GpuError, match=r"bird' of .* has no images"):
        made(tmp_path / "d", tarred(tmp_path / "a.tgz", files))
    with pytest.raises(GpuError, match=r"bird' of .* has no images"):
        made(tmp_path / "d", unpacked(tmp_path / "a", {k: v for k, v in files.items() if k != "pets/"}))


def test_what_is_no_image_is_counted_and_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    files = class_folders("pets/") | {"pets/notes/a.txt": b"x", "pets/cat/9.heic": b"x", "README": b"x"}
    files |= {"pets/.ipynb_checkpoints/1.jpg": jpeg(1), "__MACOSX/pets/cat/1.jpg": b"x", "pets/cat/.x.jpg": b"x"}
    said = Said()
    counts = prepare("p", [zipped(tmp_path / "a.zip", files)], root=tmp_path / "d", reporter=said)
    assert counts.train == {"cat": 4, "dog": 4} and counts.quarantined == 0
    assert "left out, since they are no images by their names: 1 of .heic, 1 of .txt, 1 of no suffix" in said.lines


def test_names_that_collide_keep_every_image(tmp_path: Path) -> None:
    one = zipped(tmp_path / "a.zip", class_folders() | {"cat/x/1.jpg": jpeg(70), "cat/x-1.jpg": jpeg(71)})
    other = zipped(tmp_path / "b.zip", {"cat/1.jpg": jpeg(80), "cat/1.JPG": jpeg(81), "dog/1.jpg": jpeg(101)})
    counts = made(tmp_path / "d", one, other)
    assert sum(counts.train.values()) + sum(counts.valid.values()) == 15
    every = [jpeg(n) for n in (*range(5), *range(100, 105), 70, 71, 80, 81, 101)]
    assert contents(tmp_path / "d" / "p") == sorted(every)
    made(tmp_path / "e", other, one)
    assert tree(tmp_path / "e") == tree(tmp_path / "d")
    with pytest.raises(GpuError, match="one row of the submission"):
        made(tmp_path / "f", one, zipped(tmp_path / "test.zip", {"1.jpg": jpeg(0), "1.png": jpeg(1)}))


def test_a_validation_class_that_is_not_trained_on_is_said(tmp_path: Path) -> None:
    files = class_folders("train/") | class_folders("valid/", ("cat", "bird"))
    with pytest.raises(GpuError, match="valid/ has the class 'bird'"):
        made(tmp_path / "d", unpacked(tmp_path / "a", files))


NAMES = st.text(st.characters(exclude_characters="/\0\\", exclude_categories=("Cs",)), min_size=1, max_size=20).filter(
    lambda name: not name.startswith(".") and len(name.encode()) < 200
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        NAMES.filter(lambda n: n != "__MACOSX"), st.sets(NAMES, min_size=3, max_size=6), min_size=2, max_size=4
    ),
    st.sampled_from(["train/", "a/b/train/"]),
    st.integers(0, 5),
)
def test_whatever_the_names_no_image_is_lost(classes: Mapping[str, set[str]], prefix: str, seed: int) -> None:
    from orchestrator.data.placing import part_of

    classes = {label: names for label, names in classes.items() if part_of(label) is None}
    files = {
        f"{prefix}{label}/{name}.jpg": jpeg(zlib.crc32(repr((label, name)).encode()), (8, 8))
        for label, names in classes.items()
        for name in names
    }
    if len(classes) < 2:
        return
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        archive = tarred(root / "a.tar", files, "w")
        counts = made(root / "d", archive, seed=seed, shares=Shares(holdout=Amount(count=1)))
        assert {label: counts.train[label] + counts.valid[label] + 1 for label in classes} == {
            label: len(names) for label, names in classes.items()
        }
        assert counts.test == len(classes)
        assert contents(root / "d" / "p") == sorted(files.values())
        made(root / "e", archive, seed=seed, shares=Shares(holdout=Amount(count=1)))
        assert tree(root / "e") == tree(root / "d")


def test_names_that_are_no_text_arrive(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "a", class_folders())
    Path(os.fsdecode(os.fsencode(folder) + b"/cat/\xff\xfe.jpg")).write_bytes(jpeg(60))
    (folder / "dog" / "-rf * \n$(x).jpg").write_bytes(jpeg(61))
    made(tmp_path / "d", folder)
    assert len(contents(tmp_path / "d" / "p")) == 12


def test_a_test_with_class_folders_is_sealed(tmp_path: Path) -> None:
    files = class_folders("x/training_set/") | {
        f"x/test_set/{name}": jpeg(1000 + zlib.crc32(name.encode()) % 999)
        for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg")
    }
    root = tmp_path / "d"
    assert made(root, zipped(tmp_path / "a.zip", files)).test == 3
    assert sorted(path.name for path in (root / "p" / "test").iterdir()) == ["1.jpg", "2.jpg", "3.jpg"]
    seal = holdout.find(root, "p", holdout.fingerprint(root / "p"))
    assert seal is not None and sorted(seal.labels.values()) == ["cat", "cat", "dog"]
    told = {data: name.split("/")[-2] for name, data in files.items()}
    assert all(told[(root / "p" / "test" / f"{id_}.jpg").read_bytes()] == label for id_, label in seal.labels.items())
    # Folders that are no classes are parts of the names.
    other = unpacked(
        tmp_path / "b", class_folders("train/") | {"test/day one/1.jpg": jpeg(1), "test/cat/1.jpg": jpeg(2)}
    )
    made(tmp_path / "e", other)
    assert sorted(p.name for p in (tmp_path / "e" / "p" / "test").iterdir()) == ["cat-1.jpg", "day one-1.jpg"]


def test_a_competition_keeps_its_rows(tmp_path: Path) -> None:
    """Its sample of a submission comes along, and a test image that does not decode keeps its row."""
    files = class_folders("train/") | {
        "test/1.jpg": jpeg(1),
        "test/2.jpg": b"none",
        "sample_submission.csv": b"id,label\n",
    }
    archive = zipped(tmp_path / "a.zip", files)
    assert made(tmp_path / "d", archive) == Counts({"cat": 4, "dog": 4}, {"cat": 1, "dog": 1}, 2, 0)
    assert (tmp_path / "d" / "p" / "sample_submission.csv").read_bytes() == b"id,label\n"
    own = zipped(tmp_path / "b.zip", {name: data for name, data in files.items() if not name.startswith("test/")})
    made(tmp_path / "e", own, shares=Shares(holdout=Amount(count=1)))
    assert not (tmp_path / "e" / "p" / "sample_submission.csv").exists()


def test_what_is_there_is_not_taken_for_what_is_asked(tmp_path: Path) -> None:
    cats, dogs = (
        unpacked(tmp_path / name, {f"{i}.jpg": jpeg(i + start) for i in range(5)})
        for name, start in (("cats", 0), ("dogs", 9))
    )
    made(tmp_path / "d", cats, dogs)
    made(tmp_path / "d", dogs, cats)
    felines = cats.rename(tmp_path / "felines")
    for sources, options in (((felines, dogs), {}), ((cats, dogs), {"shares": Shares(sample_train=3)})):
        felines = felines.rename(sources[0])
        with pytest.raises(GpuError, match="there already"):
            made(tmp_path / "d", *sources, **options)


def test_what_lies_beside_the_parts_makes_no_class(tmp_path: Path) -> None:
    files = class_folders("x/train/") | {
        "x/banner.png": jpeg(1),
        "x/figures/1.jpg": jpeg(2),
        "x/figures/2.jpg": jpeg(3),
    }
    said = Said()
    counts = prepare("p", [zipped(tmp_path / "a.zip", files)], root=tmp_path / "d", reporter=said)
    assert counts == Counts({"cat": 4, "dog": 4}, {"cat": 1, "dog": 1}, 0, 0)
    assert said.lines == ["left out, since they lie beside train/, valid/ and test/: 'x/banner.png' and 2 more"]
    test_alone = class_folders("x/") | {"x/test/1.jpg": jpeg(1)}
    assert made(tmp_path / "e", zipped(tmp_path / "b.zip", test_alone)) == Counts(counts.train, counts.valid, 1, 0)
