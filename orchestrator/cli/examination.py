"""`gpu doctor audit`: what is wrong, and what of ours still costs money anywhere."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..providers.base import Finding, Item
from ..verbs import audit as audits
from ..verbs import doctor as doctors
from ..verbs import environment as environments
from .options import Given, Group, command
from .terminal import print_json, printable

IMAGED = ("image", "snapshot")
MARKS = {True: ("ok", "green"), False: ("wrong", "red"), None: ("-", "yellow")}
"""`-`: it could not be looked at."""


def register(gpu: Group) -> None:
    _register_doctor(gpu)

    @command(gpu, "audit")
    @click.option("--strict", is_flag=True, help="Exit with 1 when something was left behind that nothing uses.")
    def audit(given: Given, strict: bool) -> None:
        """Everything of yours in every region, what it costs, and how to remove it."""
        desk = given.desk()
        report = audits.audit(desk)
        if given.json:
            print_json(audit_document(report))
        else:
            click.echo(printable("\n".join(audit_lines(report, free=desk.profile.emulated))))
        if strict and report.orphans:
            sys.exit(1)


def _register_doctor(gpu: Group) -> None:
    @command(gpu, "doctor")
    @click.option("--strict", is_flag=True, help="Exit with 1 when something is wrong.")
    @click.option(
        "--policy", is_flag=True, help="Print the permissions that gpu needs in the account, for who grants them."
    )
    @click.option("--fix", is_flag=True, help="First make the machine's environment what training needs.")
    @click.option(
        "--requirements",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="With --fix: packages of your own for the environment, as pip's requirements.txt.",
    )
    def doctor(given: Given, strict: bool, policy: bool, fix: bool, requirements: Path | None) -> None:
        """What is wrong with this computer, the account or the machine, and its remedy."""
        desk = given.desk()
        if policy:
            click.echo(doctors.policy(desk), nl=False)
            return
        if requirements is not None and not fix:
            raise UsageError("--requirements is for what --fix installs", "Add --fix")
        if fix:
            environments.fix(desk, requirements)
        findings = []
        for finding in doctors.examine(desk):
            findings.append(finding)
            if not given.json:
                click.echo(finding_line(finding))
        if given.json:
            print_json([dataclasses.asdict(finding) for finding in findings])
        if strict and any(finding.good is False for finding in findings):
            sys.exit(1)


def finding_line(finding: Finding) -> str:
    """As it is found: some looks take seconds. What is well needs no remedy."""
    word, colour = MARKS[finding.good]
    line = f"{click.style(f'{word:6}', fg=colour)}{finding.name:13} {printable(finding.what)}"
    return f"{line}\n{'':20}{printable(finding.remedy)}" if finding.remedy and not finding.good else line


def audit_document(report: audits.Report) -> dict[str, Any]:
    return {
        "items": [
            {
                "region": item.region,
                "resource": item.resource,
                "id": item.id,
                "profile": item.profile,
                "about": item.about,
                "per_month": None if item.per_month is None else round(item.per_month, 2),
                "orphaned": item.orphaned,
                "removal": item.removal or None,
            }
            for item in report.items
        ],
        "per_month": round(report.per_month, 2),
        "unknown": report.unknown,
        "orphaned": report.orphans,
    }


def audit_lines(report: audits.Report, *, free: bool) -> Iterator[str]:
    if not report.items:
        yield "there is nothing of yours in any region"
        return
    for region, items in groupby(report.items, key=lambda item: item.region):
        yield region
        yield from (_item_line(item) for item in items)
    total = f"together ${report.per_month:.2f} a month as it is now"
    yield (
        total
        + (f", and {report.unknown} without a known price" if report.unknown else "")
        + ("; the sandbox is free, AWS would take that" if free else "")
    )
    if report.orphans:
        yield f"left behind, and used by nothing: {report.orphans}"
    yield from _removal(report)


def _item_line(item: Item) -> str:
    price = "price unknown" if item.per_month is None else f"${item.per_month:.2f}" if item.per_month else "free"
    left = "; left behind" if item.orphaned else ""
    return f"  {item.resource:17} {item.id:26} {price:>13}  {item.profile or '-'}: {item.about}{left}"


def _removal(report: audits.Report) -> Iterator[str]:
    yield "a profile's things are removed, with all the waiting that it takes, by:"
    yield from (f"  gpu --profile {profile} destroy" for profile in report.profiles)
    baked = {(item.profile, item.region) for item in report.items if item.resource in IMAGED and item.profile}
    if baked:
        yield "but for images of your own, which go by:"
        for profile, region in sorted(baked):
            yield f"  gpu --profile {profile} ami prune --keep 0 --region {region}"
    yield "or one by one, in this order, with the same credentials:"
    yield from (f"  {item.removal}" for item in report.items if item.removal)
