"""`gpu start init resize stop status destroy`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..prices import table, types_of
from ..providers.base import State, Wish
from ..verbs import cost, notes, plans, removal, selection
from ..verbs import machine as verbs
from ..verbs.desk import Desk
from .options import Given, Group, command
from .terminal import print_json

SPOT = click.option(
    "--spot/--no-spot", default=None, help="A new machine at the spot price, which EC2 may stop at two minutes' notice."
)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show the plan; with -v as `aws` commands.")


def register(gpu: Group) -> None:
    @command(gpu, "start")
    @click.option("--type", "instance_type", metavar="TYPE", help="An instance type instead of the kind's own list.")
    @SPOT
    @DRY_RUN
    def start(given: Given, instance_type: str | None, spot: bool | None, dry_run: bool) -> None:
        """Create the machine the first time, start it after that."""
        _choose_profile(given)
        desk = given.desk()
        wish = Wish(desk.kind, instance_type, spot)
        if dry_run:
            _print_preview(given, desk, plans.preview_start(desk, wish))
            return
        state = verbs.start(desk, wish)
        if given.kind:
            desk.state_file.select_kind(desk.kind)
        _print_started(given, desk, state)

    @command(gpu, "init")
    @click.option("--type", "instance_type", metavar="TYPE", help="An instance type instead of the kind's own list.")
    @SPOT
    @DRY_RUN
    def init(given: Given, instance_type: str | None, spot: bool | None, dry_run: bool) -> None:
        """Create the machine and leave it stopped; --dry-run only shows the plan."""
        _choose_profile(given)
        desk = given.desk()
        wish = Wish(desk.kind, instance_type, spot, rest=True)
        if dry_run:
            _print_preview(given, desk, plans.preview_start(desk, wish))
            return
        _print_started(given, desk, verbs.init(desk, wish))

    @command(gpu, "resize")
    @click.argument("wanted", metavar="KIND|TYPE")
    @DRY_RUN
    def resize(given: Given, wanted: str, dry_run: bool) -> None:
        """Another type of machine with the same disk: t2 to p2, and back."""
        desk = given.desk()
        wish = Wish(wanted) if wanted in table().kinds else Wish(desk.kind, types_of(wanted)[0])
        if dry_run:
            _print_preview(given, desk, plans.preview_resize(desk, wish))
            return
        _print_started(given, desk, verbs.resize(desk, wish))

    @command(gpu, "stop")
    def stop(given: Given) -> None:
        """Stop the machine, and say what it cost and what still costs."""
        desk = given.desk()
        given.offer_home(desk)
        state = verbs.stop(desk)
        given.show({"machine": state.machine_id, "phase": state.phase}, f"{state.machine_id} is {state.phase}")

    @command(gpu, "status")
    def status(given: Given) -> None:
        """The machine, its address, its cost so far, and the runs on it."""
        desk = given.desk()
        given.offer_home(desk)
        found = verbs.status(desk)
        if given.json:
            print_json(status_document(desk, found))
        else:
            click.echo("\n".join(status_lines(desk, found)))

    @command(gpu, "destroy")
    @click.option("--abandon", is_flag=True, help="Even if results are not home: they are lost.")
    @DRY_RUN
    def destroy(given: Given, abandon: bool, dry_run: bool) -> None:
        """Remove the machine and all that was made for it; with -k KIND, that kind's machine alone."""
        desk, alone = given.desk(), given.kind is not None
        if dry_run:
            _print_preview(given, desk, removal.preview(desk, alone=alone))
            return
        found = removal.destroy(desk, abandon=abandon, alone=alone)
        text = f"the {desk.kind} machine is removed" if found.stays else "all of it is removed"
        stays = f"; the {' and '.join(found.stays)} machine stays, with the network" if found.stays else ""
        given.show({"removed": found.anything}, (text if found.anything else "there was nothing to remove") + stays)


def _print_preview(given: Given, desk: Desk, preview: plans.Preview) -> None:
    """The steps in order; with -v the `aws` commands under each, as a shell script that could be run."""
    lines = []
    for sentence, commands in preview.script:
        lines.append(f"# {sentence}" if given.verbose else sentence)
        lines += commands if given.verbose else ()
    price = preview.plan.price
    if preview.plan.spends and price:
        text = f"price: {plans.describe_price(price, free=desk.profile.emulated)}"
        lines.append(f"# {text}" if given.verbose else text)
    document = {
        "steps": [{"step": sentence, "commands": list(commands)} for sentence, commands in preview.script],
        "price_per_hour": price.per_hour if price else None,
        "price_per_month_stopped": price.per_month_stopped if price else None,
    }
    given.show(document, "\n".join(lines) if lines else "nothing to do: it is so already")


def _choose_profile(given: Given) -> None:
    """The first `gpu start` on a terminal with AWS credentials at hand asks where it shall be."""
    settings = given.settings()
    if given.kind and selection.is_id(given.kind):
        return  # It is somewhere already.
    if given.profile or settings.default_chosen or not sys.stdin.isatty() or not credentials_at_hand(os.environ):
        return
    price = plans.list_price(settings.profile("aws"), given.kind)
    click.echo(f"AWS credentials are at hand. A machine there costs {price}; the sandbox rehearses it free.", err=True)
    chosen = click.prompt("Where?", type=click.Choice(["aws", "sandbox"]), default="sandbox", err=True)
    settings.choose_default(chosen)


def credentials_at_hand(environ: Mapping[str, str]) -> bool:
    """Whether boto3 would find credentials in the places where people put them; no network, no boto3."""
    if environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_PROFILE"):
        return True
    default = Path(environ.get("HOME") or Path.home()) / ".aws" / "credentials"
    return Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or default).exists()


def _print_started(given: Given, desk: Desk, state: State) -> None:
    if state.machine_type is None:
        given.show(state_document(state), f"{state.machine_id} is {state.phase}")
        return
    price = plans.describe_price(state.price, free=desk.profile.emulated) if state.price else "not known for this type"
    spot = ", at the spot price" if state.spot else ""
    text = f"{state.machine_id} ({state.machine_type}{spot}) is {state.phase} at {state.ip}\nprice: {price}"
    given.show(state_document(state), text)


def state_document(state: State) -> dict[str, Any]:
    return {
        "kind": state.kind,
        "phase": state.phase,
        "machine": state.machine_id,
        "type": state.machine_type,
        "spot": state.spot,
        "ip": state.ip,
        "launched": state.launched.isoformat() if state.launched else None,
        "price_per_hour": state.price.per_hour if state.price else None,
    }


def status_document(desk: Desk, found: verbs.Status) -> dict[str, Any]:
    ssh = found.address and {
        "host": found.address.host,
        "port": found.address.port,
        "user": found.address.user,
        "key_file": str(found.address.key_file) if found.address.key_file else None,
        "known_hosts": str(found.address.known_hosts) if found.address.known_hosts else None,
    }
    cost = found.cost and {
        "hours": round(found.cost.hours, 4),
        "session": round(found.cost.session, 4),
        "per_month_stopped": round(found.cost.per_month_stopped, 2),
    }
    runs = [{"run": job.run_id, "state": job.describe()} for job in found.runs]
    return {
        "profile": desk.profile.name,
        **state_document(found.state),
        "ssh": ssh,
        "cost": cost,
        "awake": list(found.awake),
        "runs": runs,
        "not_home": list(found.unfetched),
        "notebook": found.notebook and {"state": found.notebook.state, "kernels": list(found.notebook.kernels)},
        "notebooks_not_home": list(found.newer),
        "trouble": found.trouble or None,
    }


def _machine_line(found: verbs.Status) -> str:
    state, address = found.state, found.address
    if state.machine_type is None and address:
        where = f"{address.user}@{address.host} port {address.port}"
        return f"{state.machine_id} is running at {where}" if state.phase == "running" else f"{where} is not entered"
    return f"{state.kind}: {state.machine_id} ({state.machine_type}) is {state.phase} at {state.ip or 'no address'}"


def status_lines(desk: Desk, found: verbs.Status) -> list[str]:
    state = found.state
    if state.machine_id is None:
        absent = f"there is no {state.kind} machine in the profile {desk.profile.name}; create it with: gpu start"
        return [absent, *cost.left_behind(desk, state), *found.others]
    lines = [_machine_line(found)]
    if state.phase == "stopped":
        lines.append(cost.stop_sentence(desk, state))
    if found.cost and state.phase == "running":
        free = ", had it been on AWS" if desk.profile.emulated else ""
        lines.append(f"up {found.cost.hours:.2f} hours, ${found.cost.session:.2f} so far{free}")
    lines += found.awake
    if found.trouble:
        lines.append(f"its runs cannot be read: {found.trouble}")
    lines += [f"run {job.run_id} {job.describe()}" for job in found.runs]
    lines += [f"not home yet: {run_id} (gpu pull {run_id})" for run_id in found.unfetched]
    lines += notes.describe(found.notebook, found.newer)
    return [*lines, *found.others]
