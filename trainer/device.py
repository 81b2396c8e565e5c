"""Which processor the network runs on. A GPU that torch cannot use is an error, never a silent CPU."""

from __future__ import annotations

from pathlib import Path

import torch

from .errors import TrainerError

_NVIDIA = "0x10de"
_DISPLAY = "0x03"


def choose(wish: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`. TrainerError when the machine's GPU and this torch do not fit."""
    if wish == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        _try(torch.device("cuda"))
        return torch.device("cuda")
    if wish == "cuda" or _has_gpu():
        raise TrainerError(
            f"torch {torch.__version__} cannot use a GPU here", "Install the torch that fits it, or give --device cpu"
        )
    return torch.device("cpu")


def words(device: torch.device) -> str:
    """The device as a person calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"


def _try(device: torch.device) -> None:
    try:
        torch.nn.functional.relu(torch.ones(8, device=device)).sum().item()
    except RuntimeError as error:
        raise TrainerError(
            f"torch {torch.__version__} has no kernels for the {torch.cuda.get_device_name(device)}",
            "Install the torch that fits it, or give --device cpu",
        ) from error


def _has_gpu() -> bool:
    for folder in Path("/sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = (folder / "vendor").read_text().strip(), (folder / "class").read_text().strip()
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False
