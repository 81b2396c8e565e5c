"""The arithmetic of the frozen part: the shortest floats that this processor multiplies faster than float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn

_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


def choose(device: torch.device) -> torch.dtype:
    """bfloat16 where there are instructions for it, float16 on older tensor cores, otherwise float32."""
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16 if major == 7 else torch.float32
    return torch.bfloat16 if _cpu_flags() & _CPU_FLAGS and torch.backends.mkldnn.is_available() else torch.float32  # type: ignore[no-untyped-call]


def name(precision: torch.dtype) -> str:
    """`bfloat16`, `float16` or `float32`."""
    return str(precision).rpartition(".")[2]


def shorten(module: nn.Module, precision: torch.dtype) -> None:
    """Keep the weights of what multiplies in `precision`, so that `running` need not convert them in each batch.

    Norms, positions and the like stay in float32. So do float16's weights: with its short exponent, a photograph
    whose answer overflows is computed again in float32.
    """
    if precision == torch.bfloat16:
        for part in module.modules():
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                part.to(precision)


def running(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """The context in which a network computes in `precision`."""
    # torch 2.0 refuses to be told of float32, even when nothing is to be done.
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)


def _cpu_flags(listing: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the first processor can do, as Linux tells it; empty where it does not."""
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())
