"""`gpu sandbox up down status`."""

from __future__ import annotations

import dataclasses

import click

from ..sandbox.region import Region
from ..verbs import sandbox as verbs
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


def _print_region(given: Given, region: Region) -> None:
    if given.json:
        print_json(dataclasses.asdict(region))
    else:
        click.echo(f"the sandbox is up since {region.started} at {region.endpoint_url} (process {region.pid})")
