"""`gpu notebook` and its `stop`, `pull`, `status`."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from .. import redirect
from ..verbs import notebook as verbs
from ..verbs import notes
from ..verbs.desk import Desk
from .ending import ended_by_any_signal
from .options import Given, Group, command, pass_given
from .terminal import print_json


def register(gpu: Group) -> None:
    @gpu.group("notebook", cls=Group, invoke_without_command=True)
    @click.option("--data", metavar="NAME", help="Send this data set first; notebooks find its name in $GPU_DATA.")
    @click.option("--no-open", is_flag=True, help="Print the address, and leave the browser alone.")
    @click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="This computer's port for it.")
    @pass_given
    @click.pass_context
    def notebook(context: click.Context, given: Given, /, **wish: Any) -> None:
        """Jupyter on the machine, in the browser here.

        The tunnel to it is held until Ctrl-C; the notebook goes on without it, and `gpu notebook` comes back to it.
        """
        if context.invoked_subcommand is None:
            _open(given, **wish)
        elif any(wish.values()):
            raise click.UsageError(
                f"`gpu notebook {context.invoked_subcommand}` takes none of --data --no-open --port."
            )

    @command(notebook, "stop")
    def stop(given: Given) -> None:
        """End Jupyter and its kernels."""
        ended = verbs.stop(given.desk())
        given.show({"ended": ended}, "the notebook has ended" if ended else "no notebook was running")

    @command(notebook, "pull")
    def pull(given: Given) -> None:
        """Bring the machine's notebooks into ./nbs, and lose neither copy."""
        folder, outcome = verbs.pull(given.desk())
        document = {
            "folder": str(folder),
            "pulled": outcome.taken,
            "newer_here": outcome.newer_here,
            "beside": outcome.beside,
            "left": list(outcome.left),
        }
        given.show(document, "\n".join(notes.sentences(outcome, folder)) or f"all of it is in {folder} already")

    @command(notebook, "status")
    def status(given: Given) -> None:
        """Whether it runs, its kernels, and what is not home."""
        found, newer = verbs.status(given.desk())
        document = {
            "state": found.state,
            "since": found.since or None,
            "data": found.data or None,
            "kernels": list(found.kernels),
            "not_home": newer,
        }
        given.show(document, "\n".join(notes.describe(found, newer)) or "no notebook runs")


def _open(given: Given, *, data: str | None, no_open: bool, port: int | None) -> None:
    desk = given.desk()
    given.offer_home(desk)
    with contextlib.ExitStack() as closing:
        closing.enter_context(ended_by_any_signal())
        way = closing.enter_context(verbs.opened(desk, data, port))
        try:
            _show(given, desk, way)
            if not no_open:
                _browse(desk, closing, way.url)
            verbs.hold(desk, way)
        except KeyboardInterrupt:
            desk.reporter.line(
                "\nthe tunnel is closed, and the notebook goes on\ncome back to it with: gpu notebook\n"
                "end it with: gpu notebook stop"
            )


def _show(given: Given, desk: Desk, way: verbs.Way) -> None:
    if given.json:
        print_json({"url": way.url, "port": way.tunnel.port, "data": way.notebook.data or None})
    else:
        click.echo(way.url)
    sys.stdout.flush()
    desk.reporter.line("the tunnel is open as long as this runs; Ctrl-C closes it, and the notebook goes on")


def _browse(desk: Desk, closing: contextlib.ExitStack, url: str) -> None:
    if not redirect.has_browser():
        desk.reporter.line("there is no browser to open here: go to that address with one of this computer")
        return
    redirect.show(closing.enter_context(redirect.page(url)))
