"""Data sets made from published archives, which come from a server on the loopback or from a small npm package."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.data import catalog, places
from orchestrator.data.fetch import Place, competition_of, fetch
from orchestrator.data.known import Known, Source
from orchestrator.errors import GpuError, UsageError
from orchestrator.reporter import Silent
from tests.webserver import Server

COUNT = 80
ROWS = [(3 if i % 2 else 5, bytes((i + j) % 256 for j in range(3072))) for i in range(COUNT)]


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def binary() -> bytes:
    batch = b"".join(bytes([n]) + bytes(row[c::3][k] for c in range(3) for k in range(1024)) for n, row in ROWS)
    return packed({f"x/{name}.bin": batch for name in ("data_batch_1", "test_batch")})


def png() -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", (1024, COUNT), b"".join(row for _, row in ROWS)).save(out, "PNG")
    labels = json.dumps([n for n, _ in ROWS]).encode()
    names = [("data_batch_1", "train_lables"), ("test_batch", "test_lables")]
    return packed(
        {f"package/{a}.png": out.getvalue() for a, _ in names} | {f"package/{b}.json": labels for _, b in names}
    )


def known(*sources: Source) -> Known:
    return Known("tiny", "t", "none", sources, {"cat": 3, "dog": 5}, train=20, valid=8, test=6)


def over_http(server: Server, body: bytes, layout: str = "cifar-binary") -> Source:
    return Source(layout, hashlib.sha256(body).hexdigest(), url=server.url)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def test_both_sources_give_the_same_tree_and_a_second_call_costs_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body = binary()
    said = Told()
    place = Place(tmp_path / "a", "tiny", tmp_path / "c")
    counts = fetch(known(over_http(server, server.body)), place, said)
    assert counts.train == {"cat": 20, "dog": 20} and counts.test == 12
    assert said.lines[:2] == ["t", "licence: none"]
    assert fetch(known(over_http(server, server.body)), place, said) == counts
    assert len(server.asked) == 1 and "fetched before" in said.lines[-1]

    (tmp_path / "p.tgz").write_bytes(png())
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\nfor last; do :; done\ncp '{tmp_path}/p.tgz' \"$last/x-1.tgz\"\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=":")
    packet = Source("cifar-png", hashlib.sha256((tmp_path / "p.tgz").read_bytes()).hexdigest(), npm="x@1")
    fetch(known(packet), Place(tmp_path / "b", "tiny", tmp_path / "c"), Silent())
    ours, theirs = (tree(tmp_path / name / "tiny") for name in "ab")
    assert ours.pop(".gpu-fetched.json") != theirs.pop(".gpu-fetched.json")
    assert ours == theirs


def jpeg(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), (shade, 255 - shade, 7)).save(out, "JPEG")
    return out.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def course() -> bytes:
    """As the lecture's archive is: class folders, a sample of the same images, weights, and tests without labels."""
    halves = [(half, label) for half in ("train", "valid") for label in ("cat", "dog")]
    files = {
        f"dogscats/{half}/{label}s/{label}.{i}.jpg": jpeg(i + 10 * at)
        for at, (half, label) in enumerate(halves)
        for i in range(10)
    }
    files |= {name.replace("dogscats/", "dogscats/sample/"): data for name, data in files.items()}
    files |= {f"dogscats/test1/{i}.jpg": jpeg(100 + i) for i in range(1, 6)}
    return zipped(files | {"dogscats/models/x.h5": b"weights", "__MACOSX/dogscats/train/cats/._cat.1.jpg": b"x"})


def test_the_courses_archive_keeps_its_own_halves_and_is_trusted_once(server: Server, tmp_path: Path) -> None:
    """Nobody has published its hash: that is said, noted, and another file at the same address is refused."""
    server.body = course()
    entry = Known("course", "t", "l", (Source("class-folders", url=server.url),))
    said = Told()
    counts = fetch(entry, Place(tmp_path / "a", "mine", tmp_path / "c"), said)
    assert (counts.train, counts.valid, counts.test) == ({"cats": 10, "dogs": 10}, {"cats": 10, "dogs": 10}, 5)
    assert hashlib.sha256(server.body).hexdigest() in said.lines[-1] and "trusted" in said.lines[-1]
    [archive] = (tmp_path / "c" / "datasets").glob("*a.tar.gz")
    archive.unlink()
    server.body += b"more"
    with pytest.raises(GpuError, match="another file than the first time"):
        fetch(entry, Place(tmp_path / "b", "mine", tmp_path / "c"), said)
    assert not (tmp_path / "b").exists()


def test_what_is_no_archive_is_not_trusted(server: Server, tmp_path: Path) -> None:
    """A hotel's login page, say."""
    server.body = b"<html>please log in</html>"
    entry = Known("course", "t", "l", (Source("class-folders", url=server.url),))
    with pytest.raises(GpuError, match="refused"):
        fetch(entry, Place(tmp_path / "a", "mine", tmp_path / "c"), Silent())
    server.body = course()
    assert fetch(entry, Place(tmp_path / "a", "mine", tmp_path / "c"), Silent()).test == 5


def test_pets_are_sorted_by_kind_and_by_breed(server: Server, tmp_path: Path) -> None:
    breeds = ("Maine_Coon", "Bengal", "pug", "yorkshire_terrier")
    files = {f"images/{breed}_{i}.jpg": jpeg(i * 9 + at) for at, breed in enumerate(breeds) for i in range(6)}
    server.body = packed(files | {"images/Bengal_1.mat": b"no image", "annotations/trimaps/pug_1.png": jpeg(3)})
    md5 = hashlib.md5(server.body, usedforsecurity=False).hexdigest()
    for layout, classes in (("pets-kinds", {"cat": 12, "dog": 12}), ("pets-breeds", dict.fromkeys(breeds, 6))):
        entry = Known(layout, "t", "l", (Source(layout, md5=md5, url=server.url),))
        counts = fetch(entry, Place(tmp_path / "a", layout, tmp_path / "c"), Silent())
        assert {label: counts.train[label] + counts.valid[label] for label in counts.train} == classes
        assert counts.test == 0
    assert len(server.asked) == 1, "two data sets are made of one archive"


def test_an_existing_folder_is_refused_before_anything_is_downloaded(server: Server, tmp_path: Path) -> None:
    server.body = course()
    (tmp_path / "a" / "mine" / "train").mkdir(parents=True)
    entry = Known("course", "t", "l", (Source("class-folders", url=server.url),))
    with pytest.raises(GpuError, match=r"is there already.*--as"):
        fetch(entry, Place(tmp_path / "a", "mine", tmp_path / "c"), Silent())
    assert not server.asked


def test_killed_before_it_was_noted_it_is_found_again(server: Server, tmp_path: Path) -> None:
    server.body = course()
    entry = Known("course", "t", "l", (Source("class-folders", url=server.url),))
    place = Place(tmp_path / "a", "mine", tmp_path / "c")
    counts = fetch(entry, place, Silent())
    (place.data.path / ".gpu-fetched.json").unlink()
    (tmp_path / "a" / ".mine.fetch" / "sorted").mkdir(parents=True)
    assert fetch(entry, place, Silent()) == counts
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["mine"]
    assert len(server.asked) == 1


def test_when_no_source_can_be_had_each_is_named(server: Server, tmp_path: Path) -> None:
    server.body = b"wrong"
    other = Source("cifar-binary", "0" * 64, url=f"{server.url}-too")
    with pytest.raises(GpuError, match=r"tiny cannot be had: .*a\.tar\.gz has not the .*a\.tar\.gz-too has not"):
        fetch(known(over_http(server, b"right"), other), Place(tmp_path / "a", "tiny", tmp_path / "c"), Silent())
    assert not [name for name in tree(tmp_path / "c") if not name.endswith(".lock")]


def test_the_catalogue_is_whole() -> None:
    found = catalog.load()
    assert {"dogscats-tiny", "dogscats", "pets", "pets-breeds", "cifar10"} <= set(found)
    for entry in found.values():
        assert Known.of(json.loads(json.dumps(entry.document()))) == entry
        assert all(source.layout in {*places.PLACES, "kaggle"} or entry.classes for source in entry.sources)
        assert all(source.url is None or source.url.startswith("https://") for source in entry.sources)
    assert len(found["cifar10"].classes) == 10
    own = Path(os.environ["GPU_HOME"]) / "datasets.yaml"
    own.parent.mkdir()
    own.write_text("mine: {title: t, licence: l, sources: [{url: 'https://x.org/a.zip', layout: class-folders}]}")
    assert catalog.entry("mine").title == "t"
    for wrong in ("{", "mine: 3", own.read_text().replace("https", "http"), own.read_text().replace("url", "from")):
        own.write_text(wrong)
        with pytest.raises(GpuError, match=r"datasets\.yaml cannot be used.*Mend it"):
            catalog.load()
    own.unlink()
    with pytest.raises(UsageError, match="Did you mean dogscats"):
        catalog.entry("dogscat")
    assert catalog.entry("kaggle:dog-breed-identification").competition == "dog-breed-identification"
    with pytest.raises(UsageError, match="competition"):
        catalog.entry("kaggle:../x")


def test_garbage_says_no_competition(tmp_path: Path) -> None:
    assert competition_of(tmp_path) is None
    for text in ("", "[]", '{"competition": 3}'):
        (tmp_path / ".gpu-fetched.json").write_text(text)
        assert competition_of(tmp_path) is None
