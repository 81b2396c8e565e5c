"""The options that every command takes, before and after its name, each declared once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from .. import settings
from ..errors import nearest
from ..settings import Home, Settings
from ..state import StateFile
from ..verbs import selection
from ..verbs.desk import Desk
from .completion import MEANT, Word, complete, profiles
from .terminal import Terminal, print_json


@dataclass
class Given:
    """What was said on the command line so far; the word nearest to the command's end wins."""

    profile: str | None = None
    kind: str | None = None
    config: Path | None = None
    json: bool = False
    verbose: int = 0
    yes: bool = False

    @property
    def home(self) -> Home:
        return Home.from_environment()

    def settings(self) -> Settings:
        return settings.load(self.config or self.home.config_file, named=self.config is not None)

    def desk(self) -> Desk:
        """Where the verb works. On a terminal the profile it acts on is named."""
        profile = self.settings().profile(self.profile)
        terminal = Terminal(agree=self.yes)
        kind = self.kind or StateFile(self.home, profile.name, terminal.line).selected_kind() or profile.kind
        if sys.stderr.isatty():
            terminal.line(f"profile {profile.name}{' (emulated, free)' if profile.emulated else ''}")
        desk = Desk(self.home, profile, kind, terminal, Path.cwd())
        return selection.of_machine(desk, kind) if selection.is_id(kind) else desk

    def offer_home(self, desk: Desk) -> None:
        """On a terminal, ask about results that are not home yet; scripts are never asked, nor held up."""
        if not self.json and sys.stdin.isatty() and sys.stderr.isatty():
            from ..verbs import homecoming

            homecoming.offer(desk)

    def show(self, document: dict[str, Any], text: str) -> None:
        """The result of a command: its document with `--json`, otherwise its text."""
        if self.json:
            print_json(document)
        else:
            click.echo(text)


pass_given = click.make_pass_decorator(Given, ensure=True)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Remember a given option; one that was not given leaves what stood before the command's name."""
    if value is not None and parameter.name:
        given = context.find_root().ensure_object(Given)
        setattr(given, parameter.name, value)


def everywhere(*, environment: bool = False) -> list[click.Parameter]:
    """Fresh copies of the common options. `gpu` alone reads the environment, so that any flag stands over it."""
    common: dict[str, Any] = {"expose_value": False, "callback": _keep, "default": None}

    def variable(name: str) -> str | None:
        return name if environment else None

    return [
        click.Option(
            ["--profile"],
            type=Word(profiles),
            envvar=variable("GPU_PROFILE"),
            help="Whose machine: sandbox, aws, or your own.",
            **common,
        ),
        click.Option(
            ["-k", "--kind"],
            type=MEANT["KIND"],
            envvar=variable("GPU_KIND"),
            help="The kind of machine: p2, t2, ..., or the id of one.",
            **common,
        ),
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path, dir_okay=False),
            envvar=variable("GPU_CONFIG"),
            help="The configuration file.",
            **common,
        ),
        click.Option(["--json"], is_flag=True, flag_value=True, help="One JSON document on stdout.", **common),
        click.Option(["-v", "--verbose"], count=True, help="Say more; twice: tracebacks too.", **common),
        click.Option(["-y", "--yes"], is_flag=True, flag_value=True, help="Answer yes to every question.", **common),
    ]


class Command(click.Command):
    """A command that takes the common options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = {name for parameter in self.params for name in parameter.opts}
        self.params += [option for option in everywhere() if not own & set(option.opts)]
        for parameter in self.params:
            complete(parameter)


class Group(click.Group):
    """A group whose commands take the common options, and whose help shows daily life first."""

    command_class = Command
    sections: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += everywhere(environment=bool(self.sections))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Clicks before 8.4 do not guess, and the others only among commands that are loaded already.
        known = ctx.resilient_parsing or not args or args[0].startswith("-") or self.get_command(ctx, args[0])
        if not known:
            guess = nearest(args[0], self.list_commands(ctx))
            raise click.UsageError(f"No such command '{args[0]}'. {guess}".strip(), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        listed = {name for _, names in self.sections for name in names}
        rest = tuple(name for name in self.list_commands(ctx) if name not in listed)
        for title, names in (*self.sections, ("Other commands" if self.sections else "Commands", rest)):
            rows = [
                (name, command.get_short_help_str(80))
                for name in names
                if (command := self.get_command(ctx, name)) is not None
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def command(group: click.Group, name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Register a function as `gpu NAME`; its first argument is what was given on the command line."""

    def register(function: Callable[..., Any]) -> click.Command:
        return group.command(name, cls=Command)(pass_given(function))

    return register
