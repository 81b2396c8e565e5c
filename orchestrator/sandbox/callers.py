"""Who calls the region: loopback is shared by all users of a computer, and whoever may run a machine is us on it."""

from __future__ import annotations

import os
from pathlib import Path

LOCAL, REMOTE, UID, INODE = 1, 2, 7, 9
"""Columns of /proc/net/tcp."""


def is_ours(client_port: int, server_port: int) -> bool:
    """Whether the other end of a loopback connection belongs to this user or to root.

    A caller that has closed its socket already belongs to nobody (the kernel shows uid 0 and no inode), and is refused.
    True where the kernel keeps no such table: there is nothing to tell users apart by.
    """
    known = False
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            continue
        known = True
        for columns in map(str.split, rows):
            if (_port(columns[LOCAL]), _port(columns[REMOTE])) == (client_port, server_port):
                return columns[INODE] != "0" and int(columns[UID]) in (0, os.getuid())
    return not known


def _port(end: str) -> int:
    return int(end.rpartition(":")[2], 16)
