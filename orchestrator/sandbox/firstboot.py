"""A stand-in for cloud-init: what user data asks for at the first boot of an instance, besides its host key.

Understood are `write_files` (content, encoding, permissions, append) and `runcmd`, as cloud-init's module reference has
them; who owns a file is not, since an emulated machine has one user.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .disk import Disk, cloud_config

_SHELL = "#!/bin/sh\n"


def script(disk: Disk) -> Path | None:
    """Write the files and return the shell script of `runcmd`; None where this instance has booted before."""
    if _is_done(disk):
        return None
    config = cloud_config(disk.user_data.read_bytes() if disk.user_data.exists() else b"")
    for entry in _entries(config, "write_files"):
        try:
            _write(disk, entry if isinstance(entry, dict) else {})
        except (OSError, ValueError) as error:
            # The machine boots all the same, as with cloud-init.
            with (disk.log / "cloud-init-output.log").open("a") as log:
                log.write(f"write_files: {error}\n")
    file = disk.cloud / "runcmd"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_SHELL + "".join(_line(entry) for entry in _entries(config, "runcmd")))
    file.chmod(0o700)
    return file


def finish(disk: Disk) -> None:
    """From now on this instance has booted before. A copy of its disk under another id has not."""
    (disk.cloud / "instance-id").write_text(disk.root.name)


def _is_done(disk: Disk) -> bool:
    note = disk.cloud / "instance-id"
    return note.exists() and note.read_text() == disk.root.name


def _entries(config: Mapping[str, Any], name: str) -> list[Any]:
    found = config.get(name)
    return found if isinstance(found, list) else []


def _line(entry: Any) -> str:
    """A text is a shell line, a list an argv."""
    words = shlex.join(str(word) for word in entry) if isinstance(entry, list) else str(entry)
    return words + "\n"


def _write(disk: Disk, entry: Mapping[str, Any]) -> None:
    file = disk.root / str(entry.get("path", "")).lstrip("/")
    if file == disk.root or not file.resolve().is_relative_to(disk.root.resolve()):
        raise ValueError(f"{entry.get('path')!r} is no file of the machine")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab" if entry.get("append") else "wb") as stream:
        stream.write(_content(entry))
    file.chmod(int(str(entry.get("permissions", "0644")), 8))


def _content(entry: Mapping[str, Any]) -> bytes:
    """Content that is not what its encoding says is written as it stands, as cloud-init does."""
    raw = entry.get("content", "")
    data = raw if isinstance(raw, bytes) else str(raw).encode()
    encoding = str(entry.get("encoding", ""))
    try:
        if encoding in ("b64", "base64", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64"):
            data = base64.b64decode(data, validate=False)
        if encoding.startswith("gz"):
            data = gzip.decompress(data)
    except (binascii.Error, OSError, EOFError):
        return data
    return data
