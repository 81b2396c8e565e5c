"""Archives that would do harm: refused by the name of the entry, and nothing of them is kept."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import jpeg, zipped

from orchestrator.data.archives import ArchiveRefused, Limits, entries
from orchestrator.data.prepare import prepare
from orchestrator.errors import GpuError
from orchestrator.reporter import Silent

GOOD = {f"train/{c}/{i}.jpg": jpeg(i) for c in ("cat", "dog") for i in range(3)}


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in GOOD.items():
            archive.addfile(*((one := member(name, data=data))[0], io.BytesIO(one[1])))
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


def zip_link(path: Path, mode: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in GOOD.items():
            archive.writestr(name, data)
        info = zipfile.ZipInfo("train/cat/9.jpg")
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, "/etc/passwd")
    return path


def encrypted(path: Path) -> Path:
    content = bytearray(zipped(path, GOOD).read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    path.write_bytes(content)
    return path


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "climbs": (lambda p: tar_of(p / "a.tgz", member("train/cat/../../../x.jpg", data=b"x")), "climbs out"),
    "absolute": (lambda p: tar_of(p / "a.tgz", member(f"{p}/escaped.jpg", data=b"x")), "absolute"),
    "chain": (
        lambda p: tar_of(
            p / "a.tgz",
            member("train/a", tarfile.SYMTYPE, "."),
            member("train/a/b", tarfile.SYMTYPE, ".."),
            member("train/a/b/x.jpg", data=b"x"),
        ),
        "'train/a' is a link",
    ),
    "hard": (lambda p: tar_of(p / "a.tgz", member("train/cat/9.jpg", tarfile.LNKTYPE, "/etc/passwd")), "is a link"),
    "device": (lambda p: tar_of(p / "a.tgz", member("train/cat/9.jpg", tarfile.BLKTYPE)), "device"),
    "fifo": (lambda p: tar_of(p / "a.tgz", member("train/cat/9.jpg", tarfile.FIFOTYPE)), "device"),
    "zip link": (lambda p: zip_link(p / "a.zip", stat.S_IFLNK | 0o777), "is a link"),
    "zip device": (lambda p: zip_link(p / "a.zip", stat.S_IFCHR | 0o666), "device"),
    "encrypted": (lambda p: encrypted(p / "a.zip"), "encrypted"),
    "bomb": (lambda p: zipped(p / "a.zip", GOOD | {"train/cat/9.jpg": bytes(8 << 20)}), "bomb"),
    "inner bomb": (
        lambda p: zipped(
            p / "a.zip", {"train.zip": zipped(p / "b.zip", {"train/a.0.jpg": bytes(8 << 20)}).read_bytes()}
        ),
        r"a\.zip/train\.zip is refused.*bomb",
    ),
    "no archive": (lambda p: named(p / "a.zip", b"<html>Please log in</html>"), "no zip or tar"),
    "nothing": (lambda p: named(p / "a.zip", b""), "no zip or tar|no images"),
    "long": (lambda p: tar_of(p / "a.tgz", member(f"train/cat/{'x' * 300}.jpg", data=b"x")), "no disk takes"),
}


def named(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_refused_and_nothing_is_left(tmp_path: Path, kind: str) -> None:
    make, why = HOSTILE[kind]
    archive = make(tmp_path)
    with pytest.raises(GpuError, match=why):
        prepare("p", [archive], root=tmp_path / "d", reporter=Silent())
    assert list((tmp_path / "d").iterdir()) == []
    assert not list(tmp_path.rglob("escaped.jpg"))


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(entries=5), "too many"),
        (Limits(entry_size=100), "more than an image"),
        (Limits(total_size=2000), "bytes"),
    ],
)
def test_the_limits_are_kept(tmp_path: Path, limits: Limits, why: str) -> None:
    for archive in (zipped(tmp_path / "a.zip", GOOD), tar_of(tmp_path / "a.tgz")):
        with pytest.raises(ArchiveRefused, match=why):
            list(entries(archive, limits))


@pytest.mark.parametrize("kind", ["link", "folder link", "fifo"])
def test_a_folder_with_a_way_out_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "a"
    for name, data in GOOD.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    bad = folder / "train" / "cat" / "9.jpg"
    if kind == "fifo":
        os.mkfifo(bad)
    else:
        bad.symlink_to("/etc/passwd" if kind == "link" else "/etc")
    with pytest.raises(ArchiveRefused, match=r"9\.jpg' is a link or a device"):
        prepare("p", [folder], root=tmp_path / "d", reporter=Silent())
    bad.unlink()
    (folder / ".git").mkdir()
    (folder / ".git" / "x").symlink_to("/etc")
    assert prepare("p", [folder], root=tmp_path / "d", reporter=Silent()).train == {"cat": 2, "dog": 2}
