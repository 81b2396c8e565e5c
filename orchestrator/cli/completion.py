"""What a shell may offer for a word: by what the word stands for, in every command alike. Asks no machine, no cloud
and no sandbox, and is silent about whatever cannot be read."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.types import StringParamType

from ..errors import GpuError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..settings import Settings

VARIABLE = "_GPU_COMPLETE"
"""In the environment when a shell asks what it may offer."""

Source = Callable[[click.Context], Iterable[str]]


class Word(StringParamType):
    """Text for which the shell is offered names: those of the first source that has any with this beginning."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        del param
        for source in self._sources:
            if names := _names(source, ctx, incomplete):
                return [CompletionItem(name) for name in names]
        return []


def _names(source: Source, context: click.Context, incomplete: str) -> list[str]:
    """A name that a shell would have to quote is not offered: not every shell's script would do so."""
    try:
        return [name for name in source(context) if name.startswith(incomplete) and shlex.quote(name) == name]
    except (GpuError, OSError):
        return []


def runs(_: click.Context) -> list[str]:
    """Those at home, newest first: an id begins with its time."""
    from trainer.run_folder import is_run

    folder = Path("runs")
    return sorted((run.name for run in folder.iterdir() if is_run(run)), reverse=True) if folder.is_dir() else []


def data_sets(_: click.Context) -> list[str]:
    """Those at home whose names a command takes."""
    from ..data import layout

    return [name for name in layout.names(Path("data")) if _is_taken(name)]


def _is_taken(name: str) -> bool:
    from ..data import layout

    try:
        return layout.checked_name(name) == name
    except GpuError:
        return False


def known_data_sets(_: click.Context) -> list[str]:
    """Those that can be fetched."""
    from ..data import catalog

    return catalog.known_names()


def kinds(_: click.Context) -> Iterable[str]:
    from ..prices import table

    return table().kinds


def types(_: click.Context) -> Iterable[str]:
    from ..prices import table

    return table().types


def profiles(context: click.Context) -> list[str]:
    """The built-in ones where the configuration is garbage."""
    from ..settings import BUILT_IN

    # What was said on the command line so far, as `main` hands it to Click.
    settings: Callable[[], Settings] = context.find_root().obj.settings
    try:
        return sorted(settings().profiles)
    except GpuError:
        return sorted(BUILT_IN)


def fault_names(_: click.Context) -> Iterable[str]:
    from ..sandbox.rehearsals import REHEARSALS

    return REHEARSALS


def faults_and_clear(context: click.Context) -> list[str]:
    return [*fault_names(context), "clear"]


def asked() -> bool:
    """Whether a shell asks. Whatever else is said would land in the line that somebody is typing."""
    return VARIABLE in os.environ


MEANT: Mapping[str, Word] = {
    "RUN": Word(runs),
    "NAME": Word(data_sets),
    "KIND": Word(kinds, types),
    "TYPE": Word(types),
}
"""By the first word of a parameter's metavar."""


def complete(parameter: click.Parameter) -> None:
    """Let the parameter offer what its metavar stands for, unless it has a type of its own."""
    meant = re.match(r"\W*(\w+)", parameter.metavar or "")
    if meant and parameter.type is click.STRING:
        parameter.type = MEANT.get(meant[1], parameter.type)
