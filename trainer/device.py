"""Which processor the network runs on. A GPU that torch cannot use is an error, never a silent CPU."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch

from .errors import TrainerError

_NVIDIA = "0x10de"
_DISPLAY = "0x03"
_BUS = Path("/sys/bus/pci/devices")
_REMEDY = "Install the torch that fits it, or give --device cpu"


def choose(wish: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`. TrainerError when the machine's GPU and this torch do not fit."""
    if wish == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda")
        _fits(device)
        _try(device)
        return device
    if present() or wish == "cuda":
        raise TrainerError(f"the GPU cannot be used: {_why()}", _REMEDY)
    return torch.device("cpu")


def words(device: torch.device) -> str:
    """The device as a person calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def kernels_for(capability: tuple[int, int], built: Iterable[str]) -> bool:
    """Whether a torch that was built for the architectures `built` has code for a GPU of this compute capability.

    `sm_86` runs on 8.6 and on what is newer within 8; `sm_90a` on 9.0 alone; of `compute_90`, which is PTX, the
    driver makes code for 9.0 and whatever is newer (CUDA C++ Programming Guide, "Application Compatibility").
    """
    return any(_runs(architecture, capability) for architecture in built)


def present(bus: Path = _BUS) -> bool:
    """Whether the machine has an NVIDIA GPU, whatever torch thinks of it."""
    for folder in bus.glob("*"):
        try:
            vendor, kind = (folder / "vendor").read_text().strip(), (folder / "class").read_text().strip()
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


def _runs(architecture: str, capability: tuple[int, int]) -> bool:
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", architecture)
    if found is None:
        return False
    made_for = int(found[2]), int(found[3])
    if found[4] == "a":
        return capability == made_for
    if found[1] == "compute":
        return capability >= made_for
    return capability[0] == made_for[0] and capability >= made_for


def _fits(device: torch.device) -> None:
    built, capability = torch.cuda.get_arch_list(), torch.cuda.get_device_capability(device)
    if built and not kernels_for(capability, built):
        raise TrainerError(
            f"torch {torch.__version__} has no kernels for the {torch.cuda.get_device_name(device)}: it is "
            f"sm_{capability[0]}{capability[1]}, and this torch was built for {', '.join(built)}",
            _REMEDY,
        )


def _why() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built for the CPU alone"
    if not present():
        return "this machine has no NVIDIA GPU"
    if not Path("/proc/driver/nvidia/version").exists():
        return "the NVIDIA driver is not loaded"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0].rstrip(".")
    return f"torch {torch.__version__} finds none"


def _try(device: torch.device) -> None:
    try:
        torch.nn.functional.relu(torch.ones(8, device=device)).sum().item()
    except RuntimeError as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise TrainerError(f"the {torch.cuda.get_device_name(device)} does not compute: {why}", _REMEDY) from error
