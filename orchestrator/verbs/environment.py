"""After a change of hardware: whether the environment on the disk still fits the machine that it is in now."""

from __future__ import annotations

from ..errors import GpuError
from ..remote.ssh import Connection
from . import torchcheck
from .desk import Desk
from .doctor import vital_signs


def expect_change(desk: Desk) -> None:
    """The kind's machine is about to become another type: to be looked at when it next runs."""
    desk.state_file.token(_changed(desk), digest="", new=lambda: "changed")


def check(desk: Desk, connection: Connection) -> None:
    """Say, once after a change, when torch on the disk cannot use the GPU: it would silently train on the CPU."""
    if desk.state_file.kept_token(_changed(desk)) is None:
        return
    try:
        facts = vital_signs(connection, only_with_gpu=True)
    except GpuError as error:
        desk.reporter.line(f"whether the environment fits the new hardware could not be looked at: {error}")
        return
    for finding in torchcheck.findings(facts) if facts.get("gpus") else ():
        if finding.good is False:
            desk.reporter.line(f"the environment does not fit the new hardware: {finding.what}. {finding.remedy}")
    desk.state_file.forget_token(_changed(desk))


def _changed(desk: Desk) -> str:
    return f"hardware {desk.kind}"
