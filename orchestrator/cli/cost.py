"""`gpu cost`: every session, what is kept, the totals, and what it costs from now on."""

from __future__ import annotations

from typing import Any

import click

from ..bill import Charge
from ..verbs import cost as verbs
from ..verbs.desk import Desk
from . import table
from .options import Given, Group, command
from .terminal import print_json

COLUMNS = ("kind", "what", "began (UTC)", "ended", " hours", " $/hour", " $")


def register(gpu: Group) -> None:
    @command(gpu, "cost")
    def cost(given: Given) -> None:
        """What it has cost, session by session, and what it costs now."""
        desk = given.desk()
        found = verbs.report(desk)
        if given.json:
            print_json(_document(desk, found))
        else:
            _show(desk, found)


def _show(desk: Desk, found: verbs.Report) -> None:
    charges = (*found.sessions, *found.kept)
    if charges:
        table.show(COLUMNS, [_row(one) for one in charges])
        click.echo()
    for line in _lines(desk, found):
        click.echo(line)


def _row(one: Charge) -> tuple[str, ...]:
    return (
        one.kind,
        _what(one),
        f"{one.began:%Y-%m-%d %H:%M}",
        _ended(one),
        f"{one.hours:.2f}",
        "unknown" if one.per_hour is None else f"{one.per_hour:.4f}",
        "unknown" if one.usd is None else f"{one.usd:.2f}",
    )


def _what(one: Charge) -> str:
    if one.what == "machine":
        return f"{one.machine_type} {'spot' if one.spot else 'on demand'}"
    return f"{one.what} {one.machine_type}".strip()


def _ended(one: Charge) -> str:
    """The day only where it is another one."""
    if one.ended is None:
        return "goes on"
    text = f"{one.ended:%H:%M}" if one.ended.date() == one.began.date() else f"{one.ended:%Y-%m-%d %H:%M}"
    return f"{text} at most" if one.at_most else text


def _lines(desk: Desk, found: verbs.Report) -> list[str]:
    free = desk.profile.emulated
    lines = [f"{month}: ${usd:.2f}" for month, usd in found.months.items()]
    taken = "; nothing was paid: this is the sandbox, AWS would have taken that" if free else ", before taxes"
    lines.append(f"in all: ${found.total:.2f}{taken}")
    if any(one.at_most for one in found.sessions):
        lines.append("at most: EC2 did not say when it stopped, only that it had by then")
    if any(one.spot for one in found.sessions):
        lines.append("a spot session is counted at the price of its start; AWS bills the price of each moment")
    if found.unpriced:
        lines.append(f"not in it: {found.unpriced} of the lines above, whose price is not known")
    lines.append(f"now: ${found.per_hour:.4f} an hour; ${found.per_month_stopped:.2f} a month with everything stopped")
    if found.per_month_images:
        lines.append(f"and your images: ${found.per_month_images:.2f} a month at most; `gpu ami prune` thins them out")
    if found.per_month_left_on is not None:
        month = f"${found.per_month_left_on:.2f}"
        lines.append(f"left on: {month} a month (730 hours) for {desk.kind}, for those who weigh a rented server")
    if found.budget is not None:
        lines.append(f"budget: ${found.rest:.2f} of ${found.budget:.2f} are left")
    lines += [f"{file} cannot be read: what it says is not in the total; move it away" for file in found.damaged]
    if found.unchecked:
        lines.append(f"not checked against EC2: {found.unchecked}")
    return lines


def _document(desk: Desk, found: verbs.Report) -> dict[str, Any]:
    return {
        "profile": desk.profile.name,
        "emulated": desk.profile.emulated,
        "paid": 0.0 if desk.profile.emulated else None,
        "sessions": [_charge_document(one) for one in found.sessions],
        "kept": [_charge_document(one) for one in found.kept],
        "months": {month: round(usd, 4) for month, usd in found.months.items()},
        "total": round(found.total, 4),
        "unpriced": found.unpriced,
        "per_hour_now": round(found.per_hour, 6),
        "per_month_stopped": round(found.per_month_stopped, 2),
        "per_month_left_on": None if found.per_month_left_on is None else round(found.per_month_left_on, 2),
        "per_month_images": round(found.per_month_images, 2),
        "budget": found.budget,
        "rest": None if found.rest is None else round(found.rest, 4),
        "damaged": list(found.damaged),
        "unchecked": found.unchecked or None,
    }


def _charge_document(one: Charge) -> dict[str, Any]:
    return {
        "what": one.what,
        "kind": one.kind,
        "machine": one.machine,
        "type": one.machine_type,
        "spot": one.spot,
        "began": one.began.isoformat(),
        "ended": one.ended.isoformat() if one.ended else None,
        "at_most": one.at_most,
        "hours": round(one.hours, 4),
        "per_hour": one.per_hour,
        "usd": None if one.usd is None else round(one.usd, 4),
    }
