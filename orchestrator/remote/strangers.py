"""What cannot be part of a data set: refused by name before anything is sent."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from ..errors import GpuError
from .tree import LINK, Tree


def look(tree: Tree, beat: Callable[[], None]) -> None:
    """Walk a folder at home. GpuError names what is neither a file nor a folder of its own, or cannot be read."""
    try:
        tree.look(beat)
    except OSError as error:
        shown = shown_name(os.fsencode(error.filename or ""))
        raise GpuError(f"{shown} cannot be read: {error.strerror}", "Check its mode and owner") from error
    for name in tree.left:
        mode = os.lstat(tree.path(name)).st_mode
        raise GpuError(f"{shown_name(tree.path(name))} is a {_kind(mode)}, which cannot be sent", "Move it away")
    for name, entry in tree.entries.items():
        if entry.kind == LINK:
            _refuse_link_out(tree, name)


def _refuse_link_out(tree: Tree, name: bytes) -> None:
    path = tree.path(name)
    points_to = os.fsencode(Path(os.fsdecode(path)).readlink())
    # An absolute link means another file on the machine, even one that stays inside here.
    inside = os.path.realpath(path).startswith(os.path.realpath(tree.root) + b"/")
    if points_to.startswith(b"/") or not inside:
        raise GpuError(
            f"{shown_name(path)} is a link out of the folder, to {shown_name(points_to)}",
            "Put the file itself in its place",
        )


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFBLK: "device", stat.S_IFCHR: "device"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def shown_name(name: bytes) -> str:
    """A name as one can show it: quotes and control characters are written out."""
    return repr(os.fsdecode(name))[1:-1]
