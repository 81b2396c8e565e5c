"""What keeps the machine awake and when it stops by itself: asked of, and told to, `ami/selfstop.sh` on it.

Times go there and come back as spans from now, so that a wrong clock at either end moves nothing.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import ami

from ..errors import GpuError
from .command import Completed
from .ssh import Connection

PROGRAM = '"$GPU_ROOT/usr/local/bin/gpu-selfstop"'
"""In the sandbox a machine's root is a folder; elsewhere the variable is empty."""
LONGEST_KEEP = timedelta(days=31)
SPENT = "the budget is spent"
_ANSWER_SECONDS = 60.0
_SILENT_SECONDS = 300
"""A timer that has not looked for so long does not run."""
_ABSENT = (126, 127)
_UNPACK = (
    'file=$(mktemp) && cat >"$file" || exit 1; as=; [ "$(id -u)" = 0 ] || as="sudo -n"; '
    '$as env GPU_ROOT="$GPU_ROOT" bash "$file" install --user "$(id -un)" {times}; code=$?; rm -f "$file"; exit $code'
)


class NoSelfStop(GpuError):
    def __init__(self, host: str) -> None:
        super().__init__(
            f"nothing on {host} would stop it by itself: it has no gpu-selfstop", "`gpu start` installs it"
        )


@dataclass(frozen=True)
class Wakefulness:
    """As of the timer's last look, and of what has been asked for since. Times are in UTC."""

    reasons: tuple[str, ...]
    """What keeps it awake; none: it is idle."""
    idle_since: datetime | None
    stop_at: datetime | None
    """When it stops if nothing changes; None: never."""
    kept_until: datetime | None
    deadline: datetime | None
    why_deadline: str
    why: str = ""
    """Why it would stop at `stop_at`."""
    troubles: tuple[str, ...] = ()
    """What could not be looked at: with any, idleness has to last twice as long."""
    watching: bool = True
    """False where the timer itself is not enabled, or silent."""
    version: int = 0


def look(connection: Connection) -> Wakefulness | None:
    """None where the machine has no self-stop at all."""
    answer = connection.run(f"{PROGRAM} status", timeout=_ANSWER_SECONDS)
    if answer.exit_code in _ABSENT:
        return None
    return _understand(_checked(connection, answer).stdout, datetime.now(timezone.utc))


def keep(connection: Connection, until: datetime | None) -> None:
    """Hold off idleness and the longest stay until then; None takes that back. `NoSelfStop` where there is none."""
    answer = connection.run(f"{PROGRAM} keep {_span(until)}", timeout=_ANSWER_SECONDS)
    if answer.exit_code in _ABSENT:
        raise NoSelfStop(connection.address.host)
    _checked(connection, answer)


def arm(connection: Connection, autostop_minutes: int, max_hours: int, deadline: datetime | None) -> None:
    """Make sure that it stops after so long (0: never), and at the deadline whatever else is said.

    Installs the script where it is missing, older than ours or silent: that takes `sudo` without a password.
    """
    found = look(connection)
    times = f"{autostop_minutes}m", f"{max_hours}h"
    if found is None or found.version < version() or not found.watching:
        line = _UNPACK.format(times=f"--autostop {times[0]} --max {times[1]}")
        _checked(connection, connection.run(line, input=ami.selfstop().encode(), timeout=_ANSWER_SECONDS))
    reason = "" if deadline is None else shlex.quote(SPENT)
    line = f"{PROGRAM} set autostop={times[0]} max={times[1]} && {PROGRAM} deadline {_span(deadline)} {reason}"
    _checked(connection, connection.run(line, timeout=_ANSWER_SECONDS))


def version() -> int:
    """Of the script that we would install."""
    match = re.search(r"^VERSION=(\d+)$", ami.selfstop(), re.MULTILINE)
    return int(match[1]) if match else 0


def _span(moment: datetime | None) -> str:
    if moment is None:
        return "off"
    return f"+{max(0, round((moment - datetime.now(timezone.utc)).total_seconds()))}"


def _checked(connection: Connection, answer: Completed) -> Completed:
    if answer.exit_code:
        said = " ".join(answer.stderr.decode(errors="replace").split())[:500]
        raise GpuError(
            f"gpu-selfstop on {connection.address.host} failed: {said or f'exit code {answer.exit_code}'}",
            "Until that is mended the machine may not stop by itself; stop it with: gpu stop",
        )
    return answer


def _understand(text: bytes, here: datetime) -> Wakefulness:
    """What the machine says is not trusted: garbage is an error, and no text of it steers the terminal."""
    try:
        facts = json.loads(text)
        there = int(facts["now"])

        def moment(name: str) -> datetime | None:
            return None if facts[name] is None else here + timedelta(seconds=int(facts[name]) - there)

        reasons = _plain(facts["reasons"])
        return Wakefulness(
            reasons=reasons,
            idle_since=None if reasons else here - timedelta(seconds=int(facts["idle"])),
            stop_at=moment("stop_at"),
            kept_until=moment("kept_until"),
            deadline=moment("deadline"),
            why_deadline=_plain([facts["why_deadline"]])[0],
            why=_plain([facts["why"]])[0],
            troubles=_plain(facts["troubles"]),
            watching=_watches(facts),
            version=int(facts["version"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise GpuError(f"gpu-selfstop answered what cannot be read: {error!r}", "See: gpu doctor") from error


def _watches(facts: Mapping[str, Any]) -> bool:
    """A machine that has only just booted has not looked yet, but its timer is enabled."""
    looked = facts["looked"]
    return bool(facts["armed"]) and int(facts["up"]) - (0 if looked is None else int(looked)) < _SILENT_SECONDS


def _plain(words: Any) -> tuple[str, ...]:
    return tuple("".join(letter for letter in str(word) if letter.isprintable()) for word in words)
