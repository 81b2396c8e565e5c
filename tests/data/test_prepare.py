"""Data sets made from archives, good and hostile."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import unpacked
from PIL import Image

from orchestrator.data import layout
from orchestrator.data.archives import ArchiveRefused, Limits, entries
from orchestrator.data.prepare import prepare
from orchestrator.data.split import Shares, divided
from orchestrator.errors import GpuError, UsageError
from orchestrator.reporter import Silent


def jpeg(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (shade % 256, shade // 256, 9)).save(out, "JPEG")
    return out.getvalue()


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def kaggle(folder: Path, count: int = 20) -> list[Path]:
    train = {f"train/{label}.{i}.jpg": jpeg(i) for label in ("cat", "dog") for i in range(count)}
    test = {f"test/{i}.jpg": jpeg(i) for i in range(1, 6)}
    return [zipped(folder / "train.zip", train), zipped(folder / "test.zip", test)]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_kaggle_archives_are_split_and_repeatable(tmp_path: Path) -> None:
    archives = kaggle(tmp_path)
    counts = prepare("pets", archives, root=tmp_path / "a", reporter=Silent())
    assert counts == layout.Counts({"cat": 16, "dog": 16}, {"cat": 4, "dog": 4}, 5, 0)
    prepare("pets", archives[::-1], root=tmp_path / "b", reporter=Silent())
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert prepare("pets", archives, root=tmp_path / "a", reporter=Silent()) == counts
    with pytest.raises(GpuError, match="there already"):
        prepare("pets", archives, root=tmp_path / "a", seed=1, reporter=Silent())
    assert layout.find(tmp_path / "a", "pets") == tmp_path / "a" / "pets"


def test_an_archive_given_twice_is_refused(tmp_path: Path) -> None:
    """Under another name too: otherwise half of what is validated on would have been trained on."""
    train, test = kaggle(tmp_path)
    copy = tmp_path / "train (1).zip"
    copy.write_bytes(train.read_bytes())
    for again in (train, copy, Path(os.path.relpath(train))):
        with pytest.raises(UsageError) as refused:
            prepare("pets", [train, test, again], root=tmp_path / "d", reporter=Silent())
        assert f"{train} and {again} hold the same" in str(refused.value)
    folders = [unpacked(tmp_path / name, {"0.jpg": jpeg(0), "1.jpg": jpeg(1)}) for name in ("cat", "cat copy")]
    with pytest.raises(UsageError, match=r"cat and .*cat copy hold the same"):
        prepare("pets", folders, root=tmp_path / "d", reporter=Silent())
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("word", ["test.zip", "{}/test.zip", "TRAIN.ZIP", "a.tgz", "a.tar.gz", "a.tar"])
def test_an_archive_is_no_name(tmp_path: Path, word: str) -> None:
    with pytest.raises(UsageError, match="first word is the data set's name"):
        prepare(word.format(tmp_path), kaggle(tmp_path)[:1], root=tmp_path / "d", reporter=Silent())
    assert not (tmp_path / "d").exists()


def test_a_broken_image_is_set_aside(tmp_path: Path) -> None:
    files = {f"pets/{label}/{i}.jpg": jpeg(i) for label in ("cat", "dog") for i in range(10)}
    files |= {"pets/cat/bad.jpg": jpeg(1)[:150], "__MACOSX/pets/cat/._0.jpg": b"x", "pets/.DS_Store": b"x"}
    counts = prepare("p", [zipped(tmp_path / "a.zip", files)], root=tmp_path / "d", reporter=Silent())
    assert counts == layout.Counts({"cat": 8, "dog": 8}, {"cat": 2, "dog": 2}, 0, 1)


@pytest.mark.parametrize("name", ["../x.jpg", "/x.jpg", "train\\..\\..\\x.jpg", "C:/x.jpg"])
def test_entries_that_climb_out_are_refused(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a.zip", {"train/cat.0.jpg": jpeg(0), name: b"x"})
    with pytest.raises(ArchiveRefused, match=r"a\.zip"):
        prepare("p", [archive], root=tmp_path / "d", reporter=Silent())
    assert list((tmp_path / "d").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("train/cat.0.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(ArchiveRefused, match="link"):
        list(entries(tmp_path / "a.tgz"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_archive_is_refused(tmp_path: Path, share: float) -> None:
    whole = kaggle(tmp_path)[0]
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(ArchiveRefused, match="damaged"):
        prepare("p", [whole], root=tmp_path / "d", reporter=Silent())


def test_bombs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused, match="bomb"):
        list(entries(zipped(tmp_path / "a.zip", {"a.jpg": bytes(20_000_000)})))
    with pytest.raises(ArchiveRefused, match="too many"):
        list(entries(kaggle(tmp_path)[0], Limits(entries=3)))


def test_one_class_and_no_train_are_said(tmp_path: Path) -> None:
    with pytest.raises(GpuError, match="only one class"):
        one = zipped(tmp_path / "one.zip", {"train/cat.0.jpg": jpeg(0)})
        prepare("p", [one], root=tmp_path / "d", reporter=Silent())
    with pytest.raises(GpuError, match="no images to train on"):
        prepare("p", kaggle(tmp_path)[1:], root=tmp_path / "d", reporter=Silent())


def test_an_unknown_data_set_is_offered(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gpu data fetch dogscats-tiny"):
        layout.find(tmp_path, "dogscats-tiny")
    with pytest.raises(UsageError, match="Did you mean dogscats-tiny"):
        layout.find(tmp_path, "dogcats-tiny")


@given(st.sets(st.text(min_size=1, max_size=8), min_size=2), st.integers())
def test_a_split_loses_nothing(names: set[str], seed: int) -> None:
    train, valid = divided(names, Shares(), seed, "cat")
    assert train and valid and set(train) | set(valid) == names and len(train) + len(valid) == len(names)
    assert (train, valid) == divided(sorted(names, reverse=True), Shares(), seed, "cat")
