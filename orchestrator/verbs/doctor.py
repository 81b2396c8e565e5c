"""What is wrong, wherever it may be: this computer, the account, the machine. Changes nothing."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import providers
from ..bounded import TooLong, within
from ..errors import GpuError, NotOffered
from ..providers.base import Examinable, Finding, HasMarket, LeftAlone, Provider
from ..remote import awake, gpus
from ..remote.ssh import Connection, connect
from ..sandbox import region, sshd
from . import market, torchcheck, vitals
from .desk import Desk

SECONDS = 30.0
VITALS_SECONDS = 150.0
"""Torch may be imported twice."""
LEAST_FREE = 5e9
LEAST_SHARE = 0.05
INSTALL = "Install it: sudo apt-get install"
OWN_ENVIRONMENT = (
    "`gpu doctor --fix` makes one in your home folder there, without root; or make ~/gpu/env a link to one with torch: "
    "gpu ssh -- 'mkdir -p gpu && ln -sfn VENV gpu/env'"
)
WHOEVER_RUNS_IT = "Ask whoever runs the machine to install it"


def policy(desk: Desk) -> str:
    """The permissions that the profile's provider needs, for whoever grants them."""
    file = Path(providers.__file__).parent / desk.profile.provider / "policy.json"
    if not file.is_file():
        raise NotOffered(
            f"the provider of the profile {desk.profile.name} asks for no permissions", "There is nothing to grant"
        )
    return file.read_text()


def examine(desk: Desk) -> Iterator[Finding]:
    """One by one, as they are found; a failure to look is a finding."""
    yield from _tools(desk)
    if desk.profile.emulated and region.find(desk.home.sandbox) is None:
        ended = region.crashed(desk.home.sandbox)
        what = "ended without warning, and its machines with it" if ended else "is not up"
        yield Finding("sandbox", not ended, f"the sandbox {what}", "It starts, empty, with: gpu start")
        return
    try:
        provider = desk.provider()
    except GpuError as error:
        yield Finding("profile", False, error.what, error.remedy)
        return
    good = True
    if isinstance(provider, Examinable):
        for finding in provider.examine():
            # Where the account cannot be asked, the machine cannot be found.
            good = good and not (finding.good is None and finding.name == "machine")
            yield finding
    if good:
        yield from _quota(desk, provider)
        yield from _machine(provider)


def _look(name: str, look: Callable[[], str], *, seconds: float = SECONDS, remedy: str = "") -> Finding:
    try:
        return Finding(name, True, within(seconds, look))
    except TooLong as error:
        return Finding(name, None, error.what, error.remedy)
    except GpuError as error:
        return Finding(name, False, error.what, error.remedy or remedy)


# --- this computer


def _tools(desk: Desk) -> Iterator[Finding]:
    yield _tool("ssh", ["ssh", "-V"], f"{INSTALL} openssh-client")
    yield _tool(
        "rsync", ["rsync", "--version"], f"{INSTALL} rsync", without="what changed goes whole, not as a difference"
    )
    if desk.profile.emulated:
        yield _tool("tmux", ["tmux", "-V"], f"{INSTALL} tmux")
        program = sshd.program()
        yield Finding("sshd", program is not None, str(program or "not here"), f"{INSTALL} openssh-server")
        yield _package("moto", "pip install 'moto[ec2,server]'")


def _tool(name: str, words: list[str], remedy: str, *, without: str = "") -> Finding:
    """`without`: what one does without it, for what is no more than convenient."""
    path = shutil.which(words[0])
    if path is None:
        return Finding(name, bool(without), f"not on this computer{': ' if without else ''}{without}", remedy)
    try:
        done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, False, f"{path} does not run: {error}", remedy)
    lines = (done.stdout + done.stderr).decode(errors="replace").split("\n")
    return Finding(name, done.returncode == 0, f"here: {lines[0].strip()[:80]}", remedy)


def _package(name: str, remedy: str) -> Finding:
    try:
        return Finding(name, True, f"here: {importlib.metadata.version(name)}", remedy)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, f"not in {sys.prefix}", f"Install it: {remedy}")


# --- the account


def _quota(desk: Desk, provider: Provider) -> Iterator[Finding]:
    if isinstance(provider, HasMarket):
        yield _look("quota", lambda: _allowance(desk))


def _allowance(desk: Desk) -> str:
    allowance = market.quota(desk)
    need, quota = allowance.need, allowance.quota
    what = f"{need.machine_type} takes {need.vcpus} of {quota.vcpus:.0f} vCPUs ({quota.name})"
    if allowance.fits is False:
        used = f", of which {allowance.others:.0f} are in use" if allowance.others else ""
        raise GpuError(f"{what}{used}: it cannot start", "Ask for more with: gpu quota --request")
    return what


# --- the machine


def _machine(provider: Provider) -> Iterator[Finding]:
    try:
        if provider.state().phase != "running":
            return
        began = time.monotonic()
        connection = within(SECONDS, lambda: connect(provider.address(), wait=0))
    except GpuError as error:
        yield Finding("ssh there", False, error.what, error.remedy)
        return
    with connection:
        yield _look("ssh there", lambda: _round_trip(connection, time.monotonic() - began))
        if isinstance(provider, LeftAlone):
            yield from map(_for_a_guest, _inside(connection))
            yield _look("GPUs there", lambda: gpus.describe(gpus.look(connection)), seconds=VITALS_SECONDS)
            return
        yield from _inside(connection)
        yield _self_stop(connection)


def _for_a_guest(finding: Finding) -> Finding:
    """On a machine of one's own nothing is installed for everybody, and nothing is provisioned over."""
    if finding.remedy == torchcheck.PROVISION:
        return replace(finding, remedy=OWN_ENVIRONMENT)
    installed = finding.remedy.startswith(INSTALL) and finding.name.endswith(" there")
    if installed or finding.remedy == torchcheck.DRIVER:
        return replace(finding, remedy=WHOEVER_RUNS_IT)
    return finding


def _round_trip(connection: Connection, connecting: float) -> str:
    began = time.monotonic()
    connection.check("true", timeout=SECONDS)
    trip = time.monotonic() - began
    return f"the expected host key; {connecting:.2f} s to connect, {trip * 1000:.0f} ms for a command"


def _inside(connection: Connection) -> Iterator[Finding]:
    try:
        facts = within(VITALS_SECONDS + SECONDS, lambda: vital_signs(connection))
    except GpuError as error:
        yield Finding("inside", None, error.what, error.remedy)
        return
    yield disk(facts)
    yield there("tmux", facts, "Runs live in it")
    yield there("rsync", facts, "", without="what changed goes whole, not as a difference")
    yield from torchcheck.findings(facts)


def vital_signs(connection: Connection, *, only_with_gpu: bool = False) -> dict[str, Any]:
    """What `vitals.py` prints on the machine; GpuError where it cannot be run there or prints something else.

    `only_with_gpu` leaves torch out where there is no GPU: importing it takes seconds.
    """
    host = connection.address.host
    program = Path(vitals.__file__).read_bytes()
    which = "only-with-gpu" if only_with_gpu else "whole"
    answer = connection.run(f"exec python3 - {which}", input=program, timeout=VITALS_SECONDS)
    if answer.exit_code:
        said = " ".join(answer.stderr.decode(errors="replace").split())[-200:]
        raise GpuError(f"python3 on {host} failed: {said or answer.exit_code}", f"{INSTALL} python3, on the machine")
    try:
        facts = json.loads(answer.stdout)
    except ValueError as error:
        raise GpuError(
            f"{host} answered {answer.stdout[:80]!r}", "A login script there prints something; let it be silent"
        ) from error
    if not isinstance(facts, dict):
        raise GpuError(f"{host} answered {answer.stdout[:80]!r}", "Look again")
    return facts


def disk(facts: dict[str, Any]) -> Finding:
    free, total = float(facts["free"]), float(facts["total"])
    what = f"{free / 1e9:.1f} GB of {total / 1e9:.1f} GB free"
    good = free >= LEAST_FREE and free >= LEAST_SHARE * total
    return Finding("disk there", good, what, "Bring runs home with `gpu pull`, then remove old data and runs in ~/gpu")


def there(name: str, facts: dict[str, Any], why: str, *, without: str = "") -> Finding:
    remedy = f"{INSTALL} {name}, on the machine. {why}".rstrip(". ")
    if facts.get(name):
        return Finding(f"{name} there", True, str(facts[name])[:80])
    return Finding(f"{name} there", bool(without), f"not on the machine{': ' if without else ''}{without}", remedy)


def _self_stop(connection: Connection) -> Finding:
    remedy = "`gpu start` installs it and arms it; until then stop the machine with: gpu stop"
    try:
        found = within(SECONDS, lambda: awake.look(connection))
    except GpuError as error:
        return Finding("self-stop", None, error.what, error.remedy)
    if found is None:
        return Finding("self-stop", False, "nothing would stop the machine by itself", remedy)
    if not found.watching:
        return Finding("self-stop", False, "installed, but its timer is silent", remedy)
    if found.stop_at is None:
        return Finding("self-stop", True, f"armed; awake for {', '.join(found.reasons) or 'now'}")
    return Finding("self-stop", True, f"armed; would stop at {found.stop_at:%Y-%m-%d %H:%M} UTC")
