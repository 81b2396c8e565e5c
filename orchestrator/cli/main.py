"""`gpu` itself: the groups of commands, and what becomes of an error."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Mapping

import click

from .. import __version__
from ..errors import GpuError
from .completion import asked
from .interrupt import heed_everywhere
from .options import Given, Group
from .terminal import printable

INTERRUPTED = 130

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "ami": ("ami",),
    "awake": ("keep",),
    "cost": ("cost",),
    "data": ("data",),
    "entrance": ("get", "get-p2", "get-t2", "ip", "ssh", "ssh-config"),
    "examination": ("audit", "doctor"),
    "journal": ("runs",),
    "machine": ("destroy", "init", "resize", "start", "status", "stop"),
    "market": ("quota", "types"),
    "notebook": ("notebook",),
    "prediction": ("predict",),
    "runs": ("attach", "cancel", "jobs", "logs", "pull", "train"),
    "sandbox": ("sandbox",),
    "score": ("score",),
    "shells": ("aliases", "completion"),
    "submit": ("submit",),
}
"""A module of this package, and the commands that its `register` makes: it is loaded for one of them alone."""


class Gpu(Group):
    sections = (
        ("Daily life", ("start", "train", "notebook", "ssh", "status", "stop")),
        ("Runs", ("jobs", "logs", "attach", "cancel", "pull", "runs", "predict", "score", "submit")),
        ("Data", ("data",)),
        ("The machine", ("ip", "ssh-config", "get", "get-p2", "get-t2", "keep", "init", "resize", "ami", "destroy")),
        ("Money", ("cost", "types", "quota")),
        ("When something is wrong", ("doctor", "audit")),
        ("Rehearsal", ("sandbox",)),
        ("In your shell", ("completion", "aliases")),
    )

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(name for names in FAMILIES.values() for name in names)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands:
            for family, names in FAMILIES.items():
                if cmd_name in names:
                    importlib.import_module(f".{family}", __package__).register(self)
        return super().get_command(ctx, cmd_name)


@click.group(cls=Gpu, name="gpu", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gpu")
def gpu() -> None:
    """One GPU machine in the cloud, and a trained network from it.

    \b
    gpu start                   create the machine the first time, start it after that
    gpu train --data dogscats   sync, train in tmux over SSH, follow, bring the results home
    gpu ssh                     be on it
    gpu stop                    stop paying
    """


def main(argv: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 expected failure, 2 wrong usage, 3 failed run, 130 interrupted."""
    given = Given()
    if asked():
        _answer_a_shell()
    heed_everywhere()
    _collect_seldom()
    try:
        code = gpu.main(args=argv, prog_name="gpu", standalone_mode=False, obj=given)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except GpuError as error:
        _show(str(error), given)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _show("interrupted", given)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe went away, which is its right; nothing more can be said to it.
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        # The disk, the network or a permission, met outside the places that expect it.
        where = f" ({error.filename})" if error.filename else ""
        _show(f"{error.strerror or error}{where}. Free the disk or mend the permission, and run it again", given)
        sys.exit(1)


def _answer_a_shell() -> None:
    from . import shells

    shells.take_over()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _collect_seldom() -> None:
    """Looking for cycles among the objects of EC2's model, while it is read and again at the end, takes a fifth of the
    time of a short command, and frees nothing."""
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def _show(message: str, given: Given) -> None:
    if given.verbose > 1:
        traceback.print_exc()
    click.echo(f"gpu: {printable(message)}", err=True)
