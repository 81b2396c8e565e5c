"""`gpu ami bake ls prune copy`: images of one's own."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import click

from ..providers.base import BakeWish, MachineImage, State
from ..verbs import bake as baking
from ..verbs import images as verbs
from ..verbs.desk import Desk
from ..verbs.plans import Preview, plan_price
from . import table
from .ending import ended_by_any_signal
from .options import Given, Group, command

COLUMNS = ("image", "name", "made (UTC)", " GB", "environment", "from", "state", " $/month", "")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show the plan; with -v as `aws` commands.")

REGION = click.option("--region", metavar="REGION", help="Where `copy` has brought them; the profile's without it.")


def register(gpu: Group) -> None:
    @gpu.group("ami", cls=Group)
    def ami() -> None:
        """Images of your own, with which machines begin ready."""

    @command(ami, "bake")
    @click.option("--from", "source", metavar="IMAGE", help="ubuntu, deep-learning, or ami-...; as `start` without it.")
    @click.option("--type", "machine_type", metavar="TYPE", help="Bake on this instance type.")
    @DRY_RUN
    def bake(given: Given, source: str | None, machine_type: str | None, dry_run: bool) -> None:
        """Make a machine ready, try it, and keep its disk as an image."""
        desk = given.desk()
        wish = BakeWish(given.kind, machine_type, source)
        if dry_run:
            _print_preview(given, desk, baking.preview(desk, wish))
            return
        with ended_by_any_signal():
            baked = baking.bake_image(desk, wish)
        text = f"{baked.image.id} ({baked.image.name})\n" + "\n".join(
            _cost_lines(desk, baked) + _kind_lines(desk, baked)
        )
        given.show({**_document(baked.image), **_cost(baked)}, text)

    @command(ami, "ls")
    @REGION
    def ls(given: Given, region: str | None) -> None:
        """Your images, newest first, and which one `gpu start` would take."""
        desk = given.desk()
        found = verbs.shelf(desk, region)
        if given.json:
            images = [{**_document(one), "chosen": one.id == found.chosen} for one in found.images]
            document: dict[str, Any] = {"images": images, "per_month": round(found.per_month, 2)}
            document["builder"] = {"id": found.builder.machine_id, "phase": found.builder.phase}
            given.show({**document, "start": {"kind": desk.kind, "image": found.chosen or None, "why": found.why}}, "")
        else:
            _show(desk, found, region or desk.profile.region)

    @command(ami, "prune")
    @click.option("--keep", type=click.IntRange(min=0), default=2, show_default=True, help="So many stay, the newest.")
    @REGION
    @DRY_RUN
    def prune(given: Given, keep: int, region: str | None, dry_run: bool) -> None:
        """Remove your oldest images with their snapshots; those of which a machine is made stay."""
        desk = given.desk()
        if dry_run:
            _print_preview(given, desk, verbs.preview_prune(desk, keep, region))
            return
        gone = verbs.prune(desk, keep, region)
        counted = [_count(gone.images, "image"), _count(gone.snapshots, "snapshot")]
        text = f"removed {' and '.join(counted)}" if gone.images or gone.snapshots else "there was nothing to remove"
        given.show({"removed": gone.images, "snapshots": gone.snapshots}, text)

    @command(ami, "copy")
    @click.argument("region")
    @click.option("--image", metavar="AMI", help="This one; without it the newest.")
    @DRY_RUN
    def copy(given: Given, region: str, image: str | None, dry_run: bool) -> None:
        """Copy an image into another region."""
        desk = given.desk()
        if dry_run:
            _print_preview(given, desk, verbs.preview_copy(desk, region, image))
            return
        with ended_by_any_signal():
            copied = verbs.copy(desk, region, image)
        month = f"at most ${copied.image.per_month:.2f} a month"
        once = "it was there already" if copied.was_there else f"at most ${copied.transfer:.2f} once for the transfer"
        text = f"{copied.image.id} in {region}\n{_price(desk, f'{month}; {once}')}"
        document = {**_document(copied.image), "transfer": round(copied.transfer, 2), "was_there": copied.was_there}
        given.show(document, text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _show(desk: Desk, found: verbs.Shelf, region: str) -> None:
    if found.images:
        table.show(COLUMNS, [_row(one, found, desk) for one in found.images], elastic="name")
        click.echo()
        click.echo(_price(desk, f"in all at most ${found.per_month:.2f} a month"))
    else:
        click.echo(f"no image of your own in {region}; make one with: gpu ami bake")
    machine = f"{desk.kind} machine" if region == desk.profile.region else f"{desk.kind} machine in {region}"
    click.echo(f"a new {machine} begins with {found.chosen} ({found.why})" if found.chosen else found.why)
    if found.builder.machine_id:
        click.echo(_builder_line(found.builder))


def _builder_line(builder: State) -> str:
    price = f" at ${builder.price.per_hour:.4g} an hour" if builder.price and builder.phase == "running" else ""
    return (
        f"the builder {builder.machine_id} is {builder.phase}{price}: a bake is at work, or was broken off; the next "
        "`gpu ami bake`, or `gpu destroy`, removes it"
    )


def _row(one: MachineImage, found: verbs.Shelf, desk: Desk) -> tuple[str, ...]:
    whose = "" if one.profile == desk.profile.name else f" of {one.profile}"
    return (
        one.id,
        one.name,
        f"{one.made:%Y-%m-%d %H:%M}",
        str(one.size_gb),
        one.environment,
        one.copied_from or one.source,
        one.state + whose,
        f"{one.per_month:.2f}",
        "next" if one.id == found.chosen else "",
    )


def _document(one: MachineImage) -> dict[str, Any]:
    return {
        "image": one.id,
        "name": one.name,
        "region": one.region,
        "profile": one.profile,
        "state": one.state,
        "made": one.made.isoformat(),
        "days": max(0, (datetime.now(timezone.utc) - one.made).days),
        "gb": one.size_gb,
        "environment": one.environment,
        "recipe": one.recipe,
        "version": one.version,
        "source": one.source,
        "source_name": one.source_name,
        "copied_from": one.copied_from or None,
        "per_month": round(one.per_month, 2),
        "snapshots": list(one.snapshots),
    }


def _cost(baked: baking.Baked) -> dict[str, Any]:
    usd = None if baked.usd is None else round(baked.usd, 4)
    return {"seconds": round(baked.seconds, 1), "usd": usd, "versions": dict(baked.facts), "kinds": dict(baked.kinds)}


def _cost_lines(desk: Desk, baked: baking.Baked) -> list[str]:
    took = f"{baked.seconds / 60:.1f} minutes"
    spent = "its machine's price is not known" if baked.usd is None else f"${baked.usd:.2f} for its machine"
    month = f"the image costs at most ${baked.image.per_month:.2f} a month until `gpu ami prune`"
    return [f"{took}; {_price(desk, f'{spent}; {month}')}"]


def _kind_lines(desk: Desk, baked: baking.Baked) -> list[str]:
    fit = [kind for kind, why in baked.kinds.items() if not why]
    lines = [f"new {' and '.join(fit)} machines begin with it"] if fit else []
    for kind, why in baked.kinds.items():
        if why:
            # What the profile names is taken, whatever is baked.
            advice = "" if desk.profile.image else f"; bake for them with: gpu -k {kind} ami bake"
            lines.append(f"new {kind} machines do not ({why}){advice}")
    return lines


def _price(desk: Desk, words: str) -> str:
    return f"nothing, this is the sandbox; on AWS it would be: {words}" if desk.profile.emulated else words


def _print_preview(given: Given, desk: Desk, preview: Preview) -> None:
    """The steps in order; with -v the `aws` commands under each."""
    lines = []
    for sentence, commands in preview.script:
        lines.append(f"# {sentence}" if given.verbose else sentence)
        lines += commands if given.verbose else ()
    price = preview.plan.price
    if preview.plan.spends:
        text = f"price: {plan_price(preview.plan, free=desk.profile.emulated)}"
        lines.append(f"# {text}" if given.verbose else text)
    steps = [{"step": sentence, "commands": list(commands)} for sentence, commands in preview.script]
    hour = price.per_hour if price else None
    document = {"steps": steps, "price_per_hour": hour, "costs": preview.plan.costs or None}
    given.show(document, "\n".join(lines) if lines else "nothing to do: it is so already")
