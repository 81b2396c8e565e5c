"""Small files that are whole or not there, and that may hold garbage all the same."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read_facts(file: Path) -> dict[str, Any]:
    """A JSON object in a file; empty where there is none, or garbage."""
    try:
        facts = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def write_facts(file: Path, facts: dict[str, Any]) -> None:
    write_whole(file, json.dumps(facts, indent=1).encode() + b"\n")


def write_whole(file: Path, content: bytes) -> None:
    """All of it or nothing of it, whatever is cut off in between."""
    new = file.with_name(file.name + ".new")
    with new.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
    parent = os.open(str(file.parent), os.O_RDONLY)
    os.fsync(parent)
    os.close(parent)
