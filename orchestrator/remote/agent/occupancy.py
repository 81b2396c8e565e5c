"""Who uses which GPU of a machine that others use too, as one JSON document.

A part of the agent, and a program of its own, which is sent where the agent may not be: standard library only, nothing
of ours, nothing newer than Python 3.7. Changes nothing.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

SECONDS = 30
FORM = "--format=csv,noheader,nounits"


def main() -> None:
    sys.stdout.write(json.dumps(facts()) + "\n")


def facts() -> dict[str, object]:
    return {"me": name_of(os.getuid()), "gpus": gpus()}


def gpus() -> list[dict[str, object]]:
    """In the order of `nvidia-smi`; none where there is no driver. Memory in MiB, None where it does not say."""
    users = who()
    found: list[dict[str, object]] = []
    for words in rows("--query-gpu=index,uuid,memory.used,memory.total,name"):
        if len(words) >= 5:
            index, uuid, used, total, name = (
                words[0],
                words[1],
                number(words[2]),
                number(words[3]),
                ", ".join(words[4:]),
            )
            one = {"index": number(index), "uuid": uuid, "used": used, "total": total, "name": name}
            found.append({**one, "users": sorted(users.get(uuid, ()))})
    return found


def who() -> dict[str, set[str]]:
    """A GPU's UUID, and the users whose programs compute on it."""
    users: dict[str, set[str]] = {}
    for words in rows("--query-compute-apps=gpu_uuid,pid"):
        if len(words) == 2:
            users.setdefault(words[0], set()).add(owner(words[1]))
    return users


def owner(pid: str) -> str:
    """Whose process it is; empty where that cannot be seen, as from inside a container."""
    try:
        return name_of(Path("/proc", pid).stat().st_uid)
    except OSError:
        return ""


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def rows(query: str) -> list[list[str]]:
    try:
        done = subprocess.run(
            ["nvidia-smi", query, FORM],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = done.stdout.decode(errors="replace").splitlines() if done.returncode == 0 else []
    return [[word.strip() for word in line.split(",")] for line in lines if line.strip()]


def number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


if __name__ == "__main__":
    main()
