"""Whether an environment is what it should be, by its own Python: sent to the machine, and run by `provision.sh`.

    python -I examine.py TORCH TORCHVISION NUMPY CAPABILITY <PACKAGES

The first three are versions, or `any`; the fourth is the GPU's architecture (`sm_75`), or empty. Each line of PACKAGES
is the name of a package that may have any version, and the module by which it is seen to be there. Prints
`broken PACKAGE WHY` for each that is not as it should be, otherwise `well` and what there is.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType

Fault = tuple[str, str]
"""A package and what is wrong with it."""


def main() -> None:
    pins, capability = dict(zip(("torch", "torchvision", "numpy"), sys.argv[1:4], strict=True)), sys.argv[4]
    faults = list(examine(pins, capability, (line.split()[:2] for line in sys.stdin)))
    for name, why in faults:
        print("broken", name, why)
    if not faults:
        torch, python = importlib.import_module("torch").__version__, sys.version_info
        print(f"well torch {torch} on Python {python.major}.{python.minor}")


def examine(pins: dict[str, str], capability: str, packages: Iterable[list[str]]) -> Iterator[Fault]:
    """numpy first: what torch says of a wrong one is no sentence."""
    for name in ("numpy", "torch", "torchvision"):
        found = load(name, pins[name])
        if isinstance(found, str):
            yield name, found
        elif name == "torch" and (why := lacks_kernels(found, capability)):
            yield name, why
    for name, module in packages:
        if why := lacks(name, "any", module):
            yield name, why


def load(name: str, pin: str) -> ModuleType | str:
    """The module, or what is wrong with it."""
    if why := lacks(name, pin, name):
        return why
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError, ValueError, AttributeError, TypeError, SyntaxError) as error:
        return f"cannot be imported: {(str(error).splitlines() or [type(error).__name__])[0]}"


def lacks(name: str, pin: str, module: str) -> str:
    """What is installed with its `+cu130` is the same version."""
    try:
        there = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        there = ""
    if pin != "any" and there and there.partition("+")[0] != pin:
        return f"is {there} in place of {pin}"
    if importlib.util.find_spec(module) is None or (pin != "any" and not there):
        return "has lost its files" if there else "is missing"
    return ""


def lacks_kernels(torch: ModuleType, capability: str) -> str:
    flags = (getattr(torch._C, "_cuda_getArchFlags", str)() or "").split()
    if not capability or fits(capability, flags):
        return ""
    return f"has no kernels for {capability}, only for: {' '.join(flags) or 'none'}"


def fits(capability: str, flags: Iterable[str]) -> bool:
    """Kernels run on their own generation from their own step on; PTX (`compute_`) is compiled for what is newer."""
    own = step(capability)
    for name in flags:
        other = step(name)
        if own and other and other <= own and (name.startswith("compute_") or other[0] == own[0]):
            return True
    return False


def step(name: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"(?:sm|compute)_(\d+)(\d)", name)
    return (int(found[1]), int(found[2])) if found else None


if __name__ == "__main__":
    main()
