"""Where features and downloaded weights are kept, unless somebody says where. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

from . import run_folder


def default() -> Path:
    """`$GPU_HOME/cache`; the machine's own, where there is one, so that notebooks and runs share it; or the XDG one."""
    if home := os.environ.get("GPU_HOME"):
        return Path(home).expanduser() / "cache"
    machines = Path(run_folder.MachineFolder(str(Path.home())).cache)
    if machines.is_dir():
        return machines
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu"
