"""A pip to send along: Debian and Ubuntu keep theirs in packages that only root installs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path


def wheel() -> tuple[str, bytes] | None:
    """Name and content: the wheel that comes with this Python, otherwise one of the pip that is installed beside it;
    None where there is neither."""
    for folder in _folders():
        for file in sorted(folder.glob("pip-*.whl")):
            return file.name, file.read_bytes()
    return pack()


def _folders() -> Iterator[Path]:
    """Where `ensurepip` looks: its own folder, or the distribution's."""
    spec = importlib.util.find_spec("ensurepip")
    if spec and spec.origin:
        yield Path(spec.origin).parent / "_bundled"
    if told := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        yield Path(str(told))


def pack() -> tuple[str, bytes] | None:
    """The installed pip as a wheel:
    https://packaging.python.org/en/latest/specifications/binary-distribution-format/"""
    try:
        installed = importlib.metadata.distribution("pip")
    except importlib.metadata.PackageNotFoundError:
        return None
    files = [file for file in installed.files or () if _belongs(file)]
    record = f"pip-{installed.version}.dist-info/RECORD"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.writestr(file.as_posix(), Path(str(file.locate())).read_bytes())
        archive.writestr(record, "".join(f"{file.as_posix()},,\n" for file in files) + f"{record},,\n")
    return f"pip-{installed.version}-py3-none-any.whl", stream.getvalue()


def _belongs(file: importlib.metadata.PackagePath) -> bool:
    """Programs outside the package, and what Python and the installer have noted, are of the place where it is."""
    noted = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    return ".." not in file.parts and file.suffix != ".pyc" and file.name not in noted
