"""Small pictures of which no two look alike, and the archives and folders that they come in."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Soft blobs: no two seeds look alike."""
    noise = Image.frombytes("RGB", (6, 6), random.Random(seed).randbytes(108))
    return noise.resize(size, Image.Resampling.BICUBIC)


def jpeg(seed: int, size: tuple[int, int] = (64, 48)) -> bytes:
    return encoded(picture(seed, size))


def encoded(image: Image.Image, kind: str = "JPEG", **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    path.write_bytes(zip_bytes(files))
    return path


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(path: Path, files: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(data))
    return path


def unpacked(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        file = folder / name
        if name.endswith("/"):
            file.mkdir(parents=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def contents(folder: Path) -> list[bytes]:
    """What is in a data set's parts and its quarantine, however it is called there; the sample holds copies."""
    inside = tree(folder).items()
    return sorted(data for name, data in inside if not name.startswith(("sample/", ".quarantine/sample/", ".gpu")))
