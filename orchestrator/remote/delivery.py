"""A few files to the machine, never over what is there."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from .ssh import Connection

SECONDS = 300.0
_COMMAND = (
    'mkdir -p {target} && part=$(mktemp -d {target}.part-XXXXXX) && {{ tar -xf - -C "$part" && '
    # Each file is there whole or not at all, and none replaces another: links, which refuse to. That some were there
    # is a failure to some versions of cp.
    '{{ cp -rnl "$part/." {target}/ 2>/dev/null; code=0; }} || code=$?; rm -rf "$part"; exit $code; }}'
)


def deliver(connection: Connection, folder: Path, names: Sequence[str], target: PurePosixPath) -> None:
    """Copy `names` from `folder` into the machine's folder `target`, which is a plain path from its home folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in names:
            archive.add(folder / name, name, recursive=False, filter=_anonymous)
    connection.check(_COMMAND.format(target=target), input=packed.getvalue(), timeout=SECONDS)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
