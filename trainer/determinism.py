"""The same bits from the same input, as far as torch's kernels can give them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

_ALARM = "does not have a deterministic implementation"


@contextmanager
def deterministic(network: nn.Module, say: Callable[[str], None]) -> Iterator[None]:
    """Only kernels that give the same bits every time, where there are such; of others `say` hears, once each."""
    # Read by cuBLAS when it is first used: of no effect if that has happened already.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    with ExitStack() as stack:
        stack.enter_context(_alarms_to(say))
        stack.enter_context(_idle_pools_left_out(network))
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=warned)
            torch.backends.cudnn.benchmark = before[1]


@contextmanager
def _alarms_to(say: Callable[[str], None]) -> Iterator[None]:
    """torch's warnings of such a kernel in a sentence; all others as ever."""
    heard: set[str] = set()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def tell(message: Warning | str, *where: object, **more: object) -> None:
            kernel, alarm, _ = str(message).partition(_ALARM)
            if not alarm:
                show(message, *where, **more)  # type: ignore[arg-type]
            elif kernel not in heard:
                heard.add(kernel)
                say(f"warning: torch has no repeatable {kernel.strip()}: run again, the last digits may be others")

        warnings.showwarning = tell
        warnings.filterwarnings("always", message=f".*{_ALARM}")
        yield


@contextmanager
def _idle_pools_left_out(network: nn.Module) -> Iterator[None]:
    """VGG16's and AlexNet's pool does nothing with photographs of the usual size, and has no repeatable way back."""
    pools = [part for part in network.modules() if type(part) is nn.AdaptiveAvgPool2d]
    for pool in pools:
        pool.forward = partial(_pooled, pool)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for pool in pools:
            del pool.forward


def _pooled(pool: nn.AdaptiveAvgPool2d, planes: Tensor) -> Tensor:
    size = pool.output_size
    wanted = (size, size) if isinstance(size, int) else tuple(size or ())
    return planes if tuple(planes.shape[-2:]) == wanted else nn.AdaptiveAvgPool2d.forward(pool, planes)
