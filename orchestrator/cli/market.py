"""`gpu types quota`: what the region offers, and whether this account may have it."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import click

from .. import prices
from ..providers.base import Offer, QuotaRequest
from ..verbs import market as verbs
from . import table
from .options import Given, Group, command
from .terminal import print_json

UNKNOWN = "unknown"
MISFIT = 1
"""The exit code of `--strict`."""


def register(gpu: Group) -> None:
    @command(gpu, "types")
    @click.option("--all", "everything", is_flag=True, help="Also types without a GPU that gpu can use.")
    @click.option("--refresh", is_flag=True, help="Ask for today's prices, whatever is in the cache.")
    def types(given: Given, everything: bool, refresh: bool) -> None:
        """GPU types that the region offers, with their prices; cheapest first."""
        desk = given.desk()
        found = verbs.types(desk, everything=everything, refresh=refresh)
        if given.json:
            print_json([_offer_document(one, found) for one in found.offers])
        else:
            _show_types(found, emulated=desk.profile.emulated)

    _register_quota(gpu)


def _show_types(found: verbs.Catalogue, *, emulated: bool) -> None:
    columns = ("type", "kind", "GPU", " GPUs", " GB each", " vCPUs", " GB", " $/hour", " spot")
    table.show(columns, [_row(one, found) for one in found.offers], elastic="GPU")
    click.echo()
    if emulated:
        click.echo(f"prices: emulated, from the table of {prices.table().date}")
    for source in dict.fromkeys(one.source for one in found.offers if one.source and not emulated):
        click.echo(f"prices: {source}; before taxes and discounts")
    if any(one.spot is not None for one in found.offers):
        click.echo("spot: $/hour now, in the cheapest zone; EC2 may stop such a machine at two minutes' notice")
    for trouble in found.troubles:
        click.echo(f"AWS did not tell today's prices: {trouble}")
    click.echo("kind: the type that this kind of machine takes here; any other with: gpu start --type TYPE")


def _row(one: Offer, found: verbs.Catalogue) -> tuple[str, ...]:
    gpu = one.gpu is not None
    return (
        one.machine_type,
        ", ".join(found.taken.get(one.machine_type, ())),
        one.gpu or "-",
        (str(one.gpus) if one.gpus else "part") if gpu else "-",
        f"{one.gpu_memory_gb:.3g}" if gpu else "-",
        str(one.vcpus),
        f"{one.memory_gb:g}",
        _usd(one.on_demand),
        _usd(one.spot),
    )


def _usd(price: float | None) -> str:
    return UNKNOWN if price is None else f"{price:.4f}"


def _offer_document(one: Offer, found: verbs.Catalogue) -> dict[str, Any]:
    return {**dataclasses.asdict(one), "kinds": list(found.taken.get(one.machine_type, ()))}


def _register_quota(gpu: Group) -> None:
    @command(gpu, "quota")
    @click.option(
        "--request",
        "wanted",
        is_flag=False,
        flag_value="enough",
        metavar="[VCPUS]",
        help="Ask for more: so many vCPUs, or as many as the machine needs.",
    )
    @click.option("--spot/--on-demand", "spot", default=None, help="As a spot machine, or not.")
    @click.option("--strict", is_flag=True, help="Exit 1 when the machine does not fit.")
    def quota(given: Given, wanted: str | None, spot: bool | None, strict: bool) -> None:
        """How many vCPUs this account may run, and whether the machine fits."""
        desk = given.desk()
        asked = verbs.ask(desk, _vcpus(wanted), spot=spot) if wanted else None
        found = verbs.quota(desk, spot=spot)
        if given.json:
            print_json(_quota_document(found, asked))
        else:
            _show_quota(found)
        if strict and not found.fits:
            sys.exit(MISFIT)


def _vcpus(wanted: str) -> float | None:
    if wanted == "enough":
        return None
    if not wanted.isascii() or not wanted.isdigit() or not 0 < int(wanted) <= 100_000:
        raise click.BadParameter(f"{wanted} is no number of vCPUs", param_hint="--request")
    return float(wanted)


def _show_quota(found: verbs.Allowance) -> None:
    rows = [
        (
            one.code,
            one.name,
            f"{one.vcpus:g}",
            "unknown" if one.used is None else f"{one.used:g}",
            f"{found.need.vcpus} for {found.need.machine_type}" if one.code == found.need.code else "",
        )
        for one in found.quotas
    ]
    table.show(("quota", "vCPUs of", " limit", " in use", "this machine needs"), rows)
    click.echo()
    click.echo(_verdict(found))
    for request in found.requests:
        names = {one.code: one.name for one in found.quotas}
        click.echo(f"asked for: {_describe(request, names.get(request.code, request.code))}")


def _verdict(found: verbs.Allowance) -> str:
    used = f", {found.others:g} of them in use" if found.others else ""
    limit = f"the {found.quota.vcpus:g} vCPUs of {found.quota.name}{used}"
    what = f"{found.need.machine_type} needs {found.need.vcpus} of {limit}"
    if found.fits:
        return f"it fits: {what}"
    if found.fits is None:
        return f"it fits if nothing else runs: {what}; these credentials may not see what is in use"
    return f"it does not fit: {what}. Ask for more with: gpu quota{' --spot' if found.spot else ''} --request"


def _describe(request: QuotaRequest, name: str) -> str:
    when = f", {request.asked:%Y-%m-%d %H:%M} UTC" if request.asked else ""
    return f"{request.vcpus:g} vCPUs of {name}: {request.status}{when}"


def _quota_document(found: verbs.Allowance, asked: QuotaRequest | None) -> dict[str, Any]:
    return {
        "fits": found.fits,
        "needs": dataclasses.asdict(found.need),
        "in_use_by_others": found.others,
        "quotas": [dataclasses.asdict(one) for one in found.quotas],
        "requests": [_request_document(one) for one in found.requests],
        "asked": asked and _request_document(asked),
    }


def _request_document(one: QuotaRequest) -> dict[str, Any]:
    return {**dataclasses.asdict(one), "asked": one.asked.isoformat() if one.asked else None}
