"""`gpu sandbox up down status fault`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import click

from ..sandbox.region import Region
from ..verbs import sandbox as verbs
from .completion import Word, fault_names, faults_and_clear
from .options import Given, Group, command
from .terminal import print_json


def register(gpu: Group) -> None:
    @gpu.group("sandbox", cls=Group)
    def sandbox() -> None:
        """An EC2 region on this computer, where everything can be rehearsed free."""

    @command(sandbox, "up")
    def up(given: Given) -> None:
        """Start the region; it stays until `down`."""
        _print_region(given, verbs.up(given.desk()))

    @command(sandbox, "down")
    @click.option("--purge", is_flag=True, help="Remove the instances' disks too.")
    def down(given: Given, purge: bool) -> None:
        """End the region and every process in it; the disks stay."""
        was_up = verbs.down(given.desk(), purge=purge)
        text = "the sandbox is down" if was_up else "the sandbox was not up"
        click.echo(text + (", its disks are removed" if purge else ""), err=given.json)
        if given.json:
            print_json({"was_up": was_up})

    @command(sandbox, "status")
    def status(given: Given) -> None:
        """Whether the region is up, and its endpoint."""
        _print_region(given, verbs.status(given.desk()))

    @command(sandbox, "fault")
    @click.argument("name", required=False, metavar="[NAME|clear]", type=Word(faults_and_clear))
    @click.argument("which", required=False, metavar="[NAME]", type=Word(fault_names))
    @click.option("--action", metavar="A", help="Only at calls of this EC2 action; may have wildcards.")
    @click.option("--times", type=click.IntRange(min=1), metavar="N", help="So often; until cleared without it.")
    @click.option("--skip", type=click.IntRange(min=0), metavar="N", help="Only after so many calls went well.")
    @click.option("--zone", metavar="Z", help="Only in this availability zone.")
    @click.option("--type", "type", metavar="T", help="Only for this instance type; may have wildcards.")
    @click.option("--seconds", type=float, metavar="S", help="How long; each fault has its own default.")
    @click.option("--when", type=click.Choice(["before", "after"]), help="Of `hold`: where the call hangs.")
    def fault(given: Given, name: str | None, which: str | None, **options: Any) -> None:
        """List what can go wrong, let it go wrong, or clear it."""
        wished = {key: value for key, value in options.items() if value is not None}
        if wished and name in (None, "clear"):
            raise click.UsageError(f"--{next(iter(wished))} belongs to the name of a fault.")
        if which and name != "clear":
            raise click.UsageError("One fault at a time.")
        if name is None:
            _print_faults(given, verbs.faults(given.desk()))
        elif name == "clear":
            cleared = verbs.clear_faults(given.desk(), which)
            given.show({"cleared": cleared}, f"{cleared} cleared" if cleared else "there was none to clear")
        else:
            made = verbs.set_fault(given.desk(), name, wished)
            over = made["times"] == 0
            given.show(made, _describe(made) + ("" if over else f"; end it with: gpu sandbox fault clear {name}"))


def _print_faults(given: Given, faults: Iterable[verbs.Fault]) -> None:
    if given.json:
        print_json({"faults": [dataclasses.asdict(fault) for fault in faults]})
        return
    for fault in faults:
        click.echo(f"{fault.name:14} {fault.about}")
        for active in fault.active:
            click.echo(f"{'':14} ACTIVE: {_describe(active)}")


def _describe(active: dict[str, Any]) -> str:
    """A fault of the region in words: «throttle at RunInstances, 2 times more (struck once)»."""
    words = [active["name"]]
    for before, key in (("", "when"), ("at", "action"), ("in", "zone"), ("of", "type")):
        if active.get(key) is not None:
            words.append(f"{before} {active[key]}".strip())
    if active.get("seconds") is not None:
        words.append(f"for {active['seconds']:g} s")
    if active["times"] != 0:
        words[-1] += ", until cleared" if active["times"] is None else f", {active['times']} times more"
    return f"{' '.join(words)}, struck {active['struck']} so far"


def _print_region(given: Given, region: Region) -> None:
    if given.json:
        print_json(dataclasses.asdict(region))
    else:
        click.echo(f"the sandbox is up since {region.started} at {region.endpoint_url} (process {region.pid})")
