"""Batch norms folded into the convolutions before them: the same answers with a third fewer operations."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_UNTRACEABLE = (
    fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError, LookupError,
    AssertionError,
)  # fmt: skip
"""What tracing raises when the way through a network depends on its input."""


def fold(net: nn.Module) -> None:
    """Replace each batch norm of `net` (in evaluation mode) by nothing where the convolution before can do its work.

    First where an `nn.Sequential` says which convolution that is, then, if norms are left, wherever tracing shows it.
    What is used in several places, and what cannot be traced, stays as it is.
    """
    shared = {id(part) for part, times in _uses(net).items() if times > 1}
    for part in list(net.modules()):
        if type(part).forward is nn.Sequential.forward:
            names = list(part._modules)
            for first, second in pairwise(names):
                if id(part._modules[first]) not in shared and id(part._modules[second]) not in shared:
                    _fuse((part, first), (part, second))
    if any(isinstance(part, nn.BatchNorm2d) for part in net.modules()):
        _fold_traced(net, shared)


def _uses(net: nn.Module) -> Counter[nn.Module]:
    return Counter(part for _, part in net.named_modules(remove_duplicate=False))


def _fold_traced(net: nn.Module, shared: set[int]) -> None:
    try:
        graph = _Tracer().trace(net)
    except _UNTRACEABLE:
        return
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        before = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        names = str(before.target), str(node.target)
        if len(before.users) == 1 and all(calls[name] == 1 for name in names):
            first, second = (_place(net, name) for name in names)
            if not {id(first[0]._modules[first[1]]), id(second[0]._modules[second[1]])} & shared:
                _fuse(first, second)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # A convolution of one's own class, too: what it does to its input's shape is nothing to trace.
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def _place(net: nn.Module, name: str) -> tuple[nn.Module, str]:
    parent, _, leaf = name.rpartition(".")
    return net.get_submodule(parent), leaf


def _fuse(first: tuple[nn.Module, str], second: tuple[nn.Module, str]) -> None:
    one: Any = first[0]._modules[first[1]]
    two: Any = second[0]._modules[second[1]]
    # Without running statistics a norm depends on the batch, even in evaluation mode.
    if isinstance(one, nn.Conv2d) and isinstance(two, nn.BatchNorm2d) and two.running_mean is not None:
        first[0]._modules[first[1]] = fuse_conv_bn_eval(one, two)
        second[0]._modules[second[1]] = nn.Identity()
