"""The system's own records of who logged in: a login to an emulated machine is none of their business."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x00020000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x80000
RECORDS = ("/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/run/utmp")


def keep_out() -> bool:
    """For root, whose sshd writes them: from here on, for this process and all below it, they are /dev/null.

    It takes a mount namespace; False where the system grants none (a container) or where no one needs one (any user
    but root cannot write these files).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getuid() != 0 or libc.unshare(CLONE_NEWNS) != 0:
        return False
    # Mounts that the rest of the computer makes still arrive here; ours stay here.
    if libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None) != 0:
        return False
    present = [record for record in RECORDS if Path(record).exists()]
    return all(libc.mount(b"/dev/null", os.fsencode(record), None, MS_BIND, None) == 0 for record in present)
