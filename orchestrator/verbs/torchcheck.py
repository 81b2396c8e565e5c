"""Whether torch on the machine can use its GPU. A wrong pair says nothing: it trains on the CPU for a day."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..providers.base import Finding

PROVISION = "Make the environment fit: `gpu doctor --fix` runs ami/provision.sh on the machine"
DRIVER = "Install the driver: `gpu doctor --fix` runs ami/provision.sh on the machine; a reboot may follow"
SILENT = "every run would silently train on the CPU"


def findings(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Of what `vitals.py` printed."""
    python, torch, smi = facts.get("python"), facts.get("torch"), facts.get("smi")
    if not python or torch is None:
        yield Finding("python there", False, "~/gpu/env/bin/python does not run", PROVISION)
        return
    yield Finding("python there", True, f"~/gpu/env: {python}")
    if "error" in torch:
        yield Finding("torch there", False, f"cannot be imported: {torch['error']}", PROVISION)
        return
    yield _pair(int(facts.get("gpus", 0)), torch, smi)


def _pair(gpus: int, torch: Mapping[str, Any], smi: Mapping[str, Any] | None) -> Finding:
    version = f"torch {torch['version']}"
    if not gpus:
        return Finding("torch there", True, f"{version}; no GPU: trains on the CPU")
    if smi is None:
        what = f"there is a GPU and no driver that answers (nvidia-smi): {SILENT}"
        return Finding("torch there", False, f"{version}; {what}", DRIVER)
    gpu = f"{smi['name']}, driver {smi['driver']}"
    if not torch["built_for"]:
        return Finding("torch there", False, f"{version} is built without CUDA, beside {gpu}: {SILENT}", PROVISION)
    capability = torch["capability"] or smi["capability"]
    built = f"{version} for CUDA {torch['built_for']}"
    if capability and torch["architectures"] and not fits(capability, torch["architectures"]):
        known = " ".join(torch["architectures"])
        what = f"{built} has kernels for {known} and none for the GPU's {capability} ({gpu}): {SILENT}"
        return Finding("torch there", False, what, PROVISION)
    if not torch["cuda"]:
        what = f"{built} does not accept the driver of {gpu}: {SILENT}"
        return Finding("torch there", False, what, PROVISION)
    return Finding("torch there", True, f"{built} on {gpu}")


def fits(capability: str, architectures: Sequence[str]) -> bool:
    """Kernels run on their own generation from their own step on; PTX (`compute_`) is compiled for whatever is newer.

    https://docs.nvidia.com/cuda/ada-compatibility-guide/ : binaries are compatible within a major revision only.
    """
    own = _number(capability)
    for name in architectures:
        other = _number(name)
        if other and own and name.startswith("compute_") and other <= own:
            return True
        if other and own and name.startswith("sm_") and other[0] == own[0] and other[1] <= own[1]:
            return True
    return False


def _number(name: str) -> tuple[int, int] | None:
    """`sm_75` to (7, 5), `sm_120` to (12, 0); what ends in a letter is for one GPU alone, and is none of ours."""
    match = re.fullmatch(r"(?:sm|compute)_(\d+)(\d)", name)
    return (int(match[1]), int(match[2])) if match else None
