"""How much memory a run needs, and how much there is. No torch: it is asked before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .errors import TrainerError

FLOOR_MIB = 640
"""What a process needs for a run of the default model on the CPU; tests/trainer/test_memory.py runs one so confined."""
MACHINE_MIB = 900
"""What a machine's whole memory must be for that: its system has its part. A t2.micro has 1024, and shows 950."""
_GROUPS = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60


def check(wanted: int = FLOOR_MIB) -> None:
    """TrainerError when less is available than a run needs; silent where the system does not tell."""
    found = available()
    if found is not None and found < wanted:
        raise TrainerError(
            f"{found} MiB of memory are available here, and a run needs {wanted} MiB",
            "End what else is running, add swap, or take a larger machine (gpu resize)",
        )


def available(
    meminfo: Path = Path("/proc/meminfo"),
    own: Path = Path("/proc/self/cgroup"),
    status: Path = Path("/proc/self/status"),
) -> int | None:
    """MiB that this process may have in all: what it has, and what the machine (swap included) and the limits of its
    control groups leave. None where the system does not tell."""
    limits = [*_machine(meminfo), *_groups(own)]
    return min(limits) + _has(status) if limits else None


def _has(status: Path) -> int:
    """MiB of memory of this process's own: without the files that it has mapped, which can be read again."""
    try:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["RssAnon"].split()[0]) >> 10
    except (OSError, KeyError, ValueError):
        return 0


def _machine(meminfo: Path) -> Iterator[int]:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        yield sum(int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree")) >> 10
    except (OSError, KeyError, ValueError):
        return


def _groups(own: Path) -> Iterator[int]:
    """What is left in each group of version 2 (and in the memory controller's of version 1) that limits us."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _left(_GROUPS, path, ("memory.max", "memory.current", "inactive_file"))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _left(_GROUPS / "memory", path, names)


def _left(root: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        if root not in (folder, *folder.parents):
            return
        try:
            limit, used = (folder / names[0]).read_text().strip(), int((folder / names[1]).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        if limit.isdigit() and int(limit) < _NO_LIMIT:
            # What is cached of files makes room when it is asked for.
            yield max(int(limit) - used + int(stat.get(names[2], "0")), 0) >> 20
