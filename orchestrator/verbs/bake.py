"""An image of one's own: a machine is made for it, made ready, tried, cleaned, imaged, and removed again."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ami import bake

from .. import prices
from ..errors import GpuError
from ..providers.base import Address, BakeWish, Imaging, MachineImage, Plan, Price, State
from ..remote import dispatch, ssh
from ..remote.failures import AuthRefused, ConnectionLost, NotSsh, Unreachable
from . import cost, torchcheck
from .desk import BOOT_SECONDS, Desk
from .doctor import vital_signs
from .images import imaging, see_through, watched
from .plans import Preview, agree
from .provision import NotReady, provision

BUILDER = "builder"
"""The kind under which the ledger of costs has it."""
COMMAND_SECONDS = 120.0
TRAINING_SECONDS = 900.0
LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Baked:
    image: MachineImage
    seconds: float
    price: Price | None
    """Of the machine it was baked on."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Versions, and what the trial training came to."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Of each kind, with what else its next new machine begins, and why; empty where it begins with this image."""

    @property
    def usd(self) -> float | None:
        """What the builder cost; None where its price is not known."""
        return None if self.price is None else self.seconds / 3600 * self.price.per_hour


def preview(desk: Desk, wish: BakeWish) -> Preview:
    there = imaging(desk)
    plan = there.plan_bake(wish)
    return Preview(plan, tuple(there.script(plan)))


def bake_image(desk: Desk, wish: BakeWish) -> Baked:
    """Bake one. However it ends, nothing but a finished image is left; should that not succeed, it is said, and the
    next bake or `gpu destroy` removes the rest."""
    there = imaging(desk)
    with there.turn():
        plan = there.plan_bake(wish)
        cost.check_budget(desk, plan.price)
        agree(desk, plan, "Go ahead?")
        began = time.monotonic()
        with _cleared(desk, there):
            image, facts = _bake(desk, there, plan)
        seconds = time.monotonic() - began
        return Baked(image, seconds, plan.price, facts, _kinds(there, image))


def _kinds(there: Imaging, image: MachineImage) -> dict[str, str]:
    found = {}
    for kind in prices.table().kinds:
        try:
            chosen, why = there.choice(kind)
        except GpuError as error:
            chosen, why = "", error.what
        found[kind] = "" if chosen == image.id else why
    return found


def _bake(desk: Desk, there: Imaging, plan: Plan) -> tuple[MachineImage, Mapping[str, Any]]:
    address = there.make_builder(plan)
    cost.note(desk, there.builder())
    source, source_name = there.source()
    desk.reporter.line(f"waiting until SSH answers at {address.host} port {address.port}")
    work = Work(desk, there, address)
    for step in bake.STEPS:
        desk.reporter.line(step.sentence)
        work.perform(step.name)
    labels = {"environment": work.facts["environment"], "recipe": bake.recipe()}
    labels |= {"source": source, "source_name": source_name}
    with watched(desk, "copying the disk into the image") as told:
        image = there.make_image(labels, told)
    return image, work.facts


@contextmanager
def _cleared(desk: Desk, there: Imaging) -> Iterator[None]:
    """Whatever happens inside, what a bake takes is removed afterwards."""
    try:
        yield
    finally:
        desk.reporter.line("removing the builder and what else the bake took")
        see_through(desk, lambda: _clear(desk, there))


def _clear(desk: Desk, there: Imaging) -> None:
    try:
        there.clear()
    except GpuError as error:
        desk.reporter.line(f"not all of it could be removed: {error.what}; the next `gpu ami bake` does it")
    else:
        cost.note(desk, State(BUILDER, "absent"))


class Work:
    """The steps of `ami/bake.py`, over SSH."""

    def __init__(self, desk: Desk, there: Imaging, address: Address) -> None:
        self._desk = desk
        self._there = there
        self._address = address
        self._ways: Mapping[str, Callable[[ssh.Connection], None]] = {
            "provision": self._provision,
            "reboot": self._reboot,
            "verify": self._verify,
            "clean": self._clean,
        }
        self._unready = False
        self.facts: dict[str, Any] = {}

    def perform(self, name: str) -> None:
        with self._connect() as connection:
            self._ways[name](connection)

    def _provision(self, connection: ssh.Connection) -> None:
        try:
            provision(self._desk, connection, self._desk.provider(BUILDER))
        except NotReady as error:
            # A driver that has just been installed may answer only after the next boot.
            self._desk.reporter.line(f"{error.what}; looking again after the reboot")
            self._unready = True

    def _reboot(self, connection: ssh.Connection) -> None:
        before = _boot(connection)
        self._there.reboot()
        deadline = time.monotonic() + BOOT_SECONDS
        while self._boot_now() in (None, before):
            if time.monotonic() > deadline:
                raise GpuError(
                    f"the builder did not come back from its reboot in {BOOT_SECONDS:.0f} s",
                    "Run the same command again; with --from ubuntu if its image is to blame",
                )
            self._check_it_runs()
            time.sleep(0.5)
        if self._unready:
            with self._connect() as fresh:
                provision(self._desk, fresh, self._desk.provider(BUILDER))

    def _boot_now(self) -> bytes | None:
        try:
            with ssh.connect(self._address, wait=0, seconds=LOOK_SECONDS) as connection:
                return connection.run(bake.BOOT_ID, timeout=COMMAND_SECONDS).stdout or None
        except (Unreachable, NotSsh, AuthRefused, ConnectionLost):
            # On its way down an sshd may end in the middle of any of these.
            return None

    def _verify(self, connection: ssh.Connection) -> None:
        facts = vital_signs(connection)
        for finding in torchcheck.findings(facts):
            self._desk.reporter.line(f"  {finding.name}: {finding.what}")
            if finding.good is False:
                raise GpuError(f"the builder is not fit to train: {finding.what}", finding.remedy)
        asked = connection.check("exec ~/gpu/env/bin/python -", input=bake.PREPARE.encode(), timeout=COMMAND_SECONDS)
        versions = json.loads(asked.stdout)
        self.facts |= versions | {"environment": _environment(versions, facts)}
        self._train(connection)

    def _train(self, connection: ssh.Connection) -> None:
        code = f"gpu/code/{dispatch.send_code(connection)}"
        words = " ".join([*bake.TRAIN, *bake.TRAIN_MORE])
        done = connection.run(
            f"cd {shlex.quote(code)} && exec ~/gpu/env/bin/python -m trainer {words}", timeout=TRAINING_SECONDS
        )
        if done.exit_code:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise GpuError(
                f"the trial training on the builder failed: {' '.join(last) or done.exit_code}",
                "Run the same command again; with --from ubuntu if its image is to blame",
            )
        accuracy = float(json.loads(connection.check(f"cat {bake.RESULT}", timeout=COMMAND_SECONDS).stdout)["accuracy"])
        self._desk.reporter.line(f"  trained on {2 * bake.IMAGES} generated images: accuracy {accuracy:.2f}")
        if accuracy < bake.LEAST_ACCURACY:
            raise GpuError(
                f"the trial training came to an accuracy of {accuracy:.2f}, and anything that learns has more",
                "Look at the machine with: gpu ami bake --type TYPE, of another type",
            )
        self.facts["accuracy"] = accuracy

    def _clean(self, connection: ssh.Connection) -> None:
        done = connection.run("exec bash -s", input=bake.clean_script().encode(), timeout=COMMAND_SECONDS)
        if done.exit_code:
            left = (done.stdout or done.stderr).decode(errors="replace").split()
            raise GpuError(
                f"what must not get into an image is still on the builder: {' '.join(left)[:300] or done.exit_code}",
                "Run the same command again",
            )

    def _connect(self) -> ssh.Connection:
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                return ssh.connect(self._address, wait=LOOK_SECONDS, say=self._desk.reporter.line)
            except (Unreachable, NotSsh):
                self._check_it_runs()
                if time.monotonic() > deadline:
                    raise

    def _check_it_runs(self) -> None:
        """One that somebody has ended is not waited for."""
        if (phase := self._there.builder().phase) not in ("pending", "running"):
            raise GpuError(
                f"the builder is {'gone' if phase == 'absent' else phase}: somebody else has ended it",
                "Run the same command again to begin anew",
            )


def _boot(connection: ssh.Connection) -> bytes:
    return connection.check(bake.BOOT_ID, timeout=COMMAND_SECONDS).stdout


def _environment(versions: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The build that is on the machine. Somebody's own environment counts as what the machine would have got:
    `provision.sh` has seen that it serves as that."""
    torch, smi = facts.get("torch") or {}, facts.get("smi") or {}
    if not versions["own"] and (known := bake.environment_of(str(versions["torch"]))):
        return known
    return bake.environment_for(torch.get("capability") or smi.get("capability"))
