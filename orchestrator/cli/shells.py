"""`gpu aliases completion`: what a shell is told about gpu."""

from __future__ import annotations

import re
from collections.abc import Mapping

import click
from click import shell_completion

import aliases

from .completion import VARIABLE
from .options import Given, Group, command


class Bash(shell_completion.BashComplete):
    """Its `--data=dogs` arrives as three words."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        return [word for word in args if word != "="], incomplete


class _WholeWord(shell_completion.ShellComplete):
    """`--data=dogs` is one word here, and what is offered takes the place of the whole."""

    def get_completions(self, args: list[str], incomplete: str) -> list[shell_completion.CompletionItem]:
        items = super().get_completions(args, incomplete)
        if option := re.match(r"--[\w-]+=", incomplete):
            for item in items:
                item.value = option[0] + item.value
        return items


class Zsh(_WholeWord, shell_completion.ZshComplete):
    pass


class Fish(_WholeWord, shell_completion.FishComplete):
    """The newest run first, as in the other shells."""

    source_template = shell_completion.FishComplete.source_template.replace(
        "complete --no-files", "complete --no-files --keep-order"
    )


SHELLS: Mapping[str, type[shell_completion.ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


def take_over() -> None:
    """Let Click answer the shells through these classes instead of its own."""
    for name, answering in SHELLS.items():
        shell_completion.add_completion_class(answering, name)


def register(gpu: Group) -> None:
    @command(gpu, "completion")
    @click.argument("shell", type=click.Choice(list(SHELLS)))
    def completion(given: Given, shell: str) -> None:
        """What lets the shell complete commands, options and names.

        \b
        eval "$(gpu completion bash)"       in ~/.bashrc
        eval "$(gpu completion zsh)"        in ~/.zshrc, after compinit
        gpu completion fish | source        in ~/.config/fish/config.fish
        """
        text = SHELLS[shell](gpu, {}, "gpu", VARIABLE).source()
        given.show({"shell": shell, "script": text}, text)

    @command(gpu, "aliases")
    def names(given: Given) -> None:
        """The course's aws-get-p2, aws-start, ...; bash and zsh: eval "$(gpu aliases)"."""
        given.show({"script": aliases.script()}, aliases.script())
