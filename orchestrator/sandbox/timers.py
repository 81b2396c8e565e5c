"""A stand-in for systemd: the timers of one instance and the one-shot services that they start.

Unit files are those under the instance's own `/etc/systemd/system`, and what they name is looked for under its root
first, so that the same files work on a real machine. Understood are `OnBootSec`, `OnUnitActiveSec` and `Unit` of a
timer, `ExecStart` and `TimeoutStartSec` of a service. The environment variable `GPU_SANDBOX_TICK` says how many seconds
a timer's minute lasts.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import processes
from .disk import Disk

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_UNITS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86400}
_START_LIMIT = 90.0
"""Seconds that systemd gives a service that says nothing about it."""


@dataclass
class _Timer:
    service: str
    repeat: float | None
    """Seconds from one start of the service to the next."""
    due: float | None
    """On the monotonic clock."""
    last: float | None = None


@dataclass
class _Running:
    process: subprocess.Popen[bytes]
    until: float


class Timers:
    """Lives in the supervisor, whose children the services are."""

    def __init__(self, disk: Disk, environment: Mapping[str, str]) -> None:
        self.disk = disk
        self.environment = environment
        self.scale = float(os.environ.get("GPU_SANDBOX_TICK") or 60) / 60
        self._timers: dict[str, _Timer] = {}
        self._running: dict[str, _Running] = {}
        self._booted = time.monotonic()

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        return [running.process for running in self._running.values()]

    def boot(self) -> None:
        """Forget what ran, and start every timer that is enabled."""
        self._timers, self._running, self._booted = {}, {}, time.monotonic()
        for link in sorted(self.disk.wanted_timers.glob("*.timer")):
            self.start(link.name)
        self._note()

    def obey(self, verb: str, unit: str) -> None:
        """`start`, `restart` or `stop` a unit."""
        if verb == "stop":
            self._timers.pop(unit, None)
            self._kill(unit)
        elif verb in ("start", "restart"):
            self.start(unit)
        self._note()

    def start(self, unit: str) -> None:
        if unit.endswith(".timer") and (settings := self._read(unit, "Timer")):
            after_boot, repeat = self._span(settings, "OnBootSec"), self._span(settings, "OnUnitActiveSec")
            # One whose moment since boot has passed is due at once.
            due = None if after_boot is None else self._booted + after_boot
            service = settings.get("Unit") or unit.removesuffix(".timer") + ".service"
            self._timers[unit] = _Timer(service, repeat, due)
        elif unit.endswith(".service"):
            self._run(unit)

    def step(self) -> None:
        """Start what is due and end what takes too long."""
        now = time.monotonic()
        for unit, running in list(self._running.items()):
            if running.process.poll() is not None:
                del self._running[unit]
            elif now > running.until:
                self._kill(unit)
        changed = False
        for timer in self._timers.values():
            if timer.due is not None and now >= timer.due:
                timer.last, timer.due = now, None if timer.repeat is None else now + timer.repeat
                self._run(timer.service)
                changed = True
        if changed:
            self._note()

    def _run(self, unit: str) -> None:
        """A service that still runs is left alone, as systemd leaves it."""
        settings = self._read(unit, "Service")
        if unit in self._running or not settings or "ExecStart" not in settings:
            return
        command = shlex.split(settings["ExecStart"].lstrip("-@:+!"))
        inside = self.disk.root / command[0].lstrip("/")
        with (self.disk.log / f"{unit}.log").open("ab") as log, contextlib.suppress(OSError):
            process = subprocess.Popen(
                [str(inside) if inside.exists() else command[0], *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.disk.root,
                env=dict(self.environment),
                start_new_session=True,
                preexec_fn=processes.die_with_parent,
            )
            limit = self._span(settings, "TimeoutStartSec", scaled=False) or _START_LIMIT
            self._running[unit] = _Running(process, time.monotonic() + limit)

    def _kill(self, unit: str) -> None:
        if running := self._running.get(unit):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGKILL)

    def _read(self, unit: str, section: str) -> Mapping[str, str] | None:
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#", ";"))
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            parser.read_string((self.disk.units / Path(unit).name).read_text())
        except (OSError, UnicodeDecodeError, configparser.Error):
            return None
        return parser[section] if parser.has_section(section) else None

    def _span(self, settings: Mapping[str, str], name: str, *, scaled: bool = True) -> float | None:
        """Seconds; None for what is not there or not understood."""
        match = _SPAN.fullmatch(settings.get(name, "").strip())
        if match is None or match[2] not in _UNITS:
            return None
        return float(match[1]) * _UNITS[match[2]] * (self.scale if scaled else 1)

    def _note(self) -> None:
        """What `systemctl` inside reads: a line «UNIT LAST NEXT» in seconds since 1970 for each active timer."""
        offset = time.time() - time.monotonic()

        def shown(moment: float | None) -> str:
            return "-" if moment is None else f"{moment + offset:.0f}"

        lines = [f"{name} {shown(timer.last)} {shown(timer.due)}\n" for name, timer in sorted(self._timers.items())]
        new = self.disk.run / "timers.new"
        new.write_text("".join(lines))
        new.replace(self.disk.run / "timers")
