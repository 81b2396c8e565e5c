"""`gpu keep`: stay awake so long, whatever the idle timer thinks."""

from __future__ import annotations

import re

import click

from ..errors import UsageError
from ..verbs import awake as verbs
from .options import Given, Group, command

_SECONDS = {"d": 86400, "h": 3600, "m": 60}
_PART = re.compile(r"(\d{1,6})([dhm])")


def register(gpu: Group) -> None:
    @command(gpu, "keep")
    @click.argument("time", metavar="TIME|off")
    def keep(given: Given, time: str) -> None:
        """Stay awake for 4h, 90m or 1d, whatever the idle timer thinks."""
        until = verbs.keep(given.desk(), span(time))
        text = "it stops again when it is idle" if until is None else f"awake until {verbs.shown(until)}"
        given.show({"kept_until": until and until.isoformat(timespec="seconds")}, text)


def span(text: str) -> int | None:
    """Seconds in «1h30m»; None for «off»."""
    if text == "off":
        return None
    if not re.fullmatch(rf"(?:{_PART.pattern})+", text):
        raise UsageError(
            f"{text!r} is no length of time", "Say how long, as in: gpu keep 4h, gpu keep 90m, gpu keep 1d"
        )
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
