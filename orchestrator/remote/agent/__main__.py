"""`python -m agent VERB ...`, in the folder that the agent was sent to."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from trainer import memory

from . import places, turns
from .beginning import start
from .ending import cancel
from .following import follow, tail
from .locks import holder
from .phases import state_of


def ready() -> dict[str, Any]:
    data = Path(places.machine().root) / "data"
    # A copy that was interrupted leaves a folder that begins with a dot.
    whole = [entry.name for entry in data.iterdir() if entry.is_dir()] if data.is_dir() else []
    return {
        "tmux": shutil.which("tmux"),
        "rsync": shutil.which("rsync"),
        "python": platform.python_version(),
        "free_bytes": shutil.disk_usage(str(places.home())).free,
        "home": str(places.home()),
        "busy": holder() or next(iter(turns.waiting()), None),
        "memory_mib": memory.available(),
        "needed_mib": memory.FLOOR_MIB,
        "data": sorted(name for name in whole if not name.startswith(".")),
    }


def main(argv: list[str]) -> int:
    verb, words = argv[0], argv[1:]
    if verb == "run":
        # With the modules that only a run needs: every other question is asked more often.
        from .wrapper import Wrapper

        return Wrapper(Path(words[0])).work()
    if verb == "keep":
        from .keeper import Keeper

        return Keeper().work()
    if verb == "follow":
        follow(places.folder_of(words[0]), int(words[1]))
        return 0
    document: Any
    if verb == "ready":
        document = ready()
    elif verb == "jobs":
        document = [state_of(run) for run in places.run_folders()]
    elif verb == "start":
        document = start(words[0])
    elif verb == "notebook":
        from . import notebook

        document = notebook.answer(words[0])
    else:
        run = places.folder_of(words[0])
        document = tail(run, int(words[1])) if verb == "tail" else {"state": state_of, "cancel": cancel}[verb](run)
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
