"""`gpu ip get get-p2 get-t2 ssh ssh-config`: the machine's address, its id, and the way in."""

from __future__ import annotations

import sys

import click

from ..verbs import entrance as verbs
from .options import Given, Group, command


def register(gpu: Group) -> None:
    @command(gpu, "ip")
    def ip(given: Given) -> None:
        """The elastic IP, alone on a line."""
        address = verbs.ip(given.desk())
        given.show({"ip": address}, address)

    _register_get(gpu)
    _register_ssh(gpu)


def _register_get(gpu: Group) -> None:
    @command(gpu, "get")
    @click.argument("wanted", metavar="[KIND]", required=False)
    def get(given: Given, wanted: str | None) -> None:
        """The instance id of a kind's machine; commands act on it from now on. Without KIND, of the one they act on."""
        _print_id(given, wanted)

    @command(gpu, "get-p2")
    def get_p2(given: Given) -> None:
        """The instance id of the GPU machine."""
        _print_id(given, "p2")

    @command(gpu, "get-t2")
    def get_t2(given: Given) -> None:
        """The instance id of the free CPU machine."""
        _print_id(given, "t2")


def _print_id(given: Given, kind: str | None) -> None:
    desk = given.desk()
    machine_id = verbs.get(desk, kind)
    given.show({"kind": kind or desk.kind, "machine": machine_id}, machine_id)


def _register_ssh(gpu: Group) -> None:
    @command(gpu, "ssh")
    @click.argument("words", nargs=-1, metavar="[-- COMMAND...]", type=click.UNPROCESSED)
    def ssh(given: Given, words: tuple[str, ...]) -> None:
        """A shell on the machine, or one command with its exit code."""
        sys.exit(verbs.shell(given.desk(), words))

    @command(gpu, "ssh-config")
    def ssh_config(given: Given) -> None:
        """A block for ~/.ssh/config, for other SSH clients."""
        block = verbs.ssh_config(given.desk())
        given.show({"config": block}, block)
