"""The layers of a network in the order of the computation, and how fast each of them learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from .models import Network

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass
class Layer:
    """What a person counts as one layer: a convolution with its norm, a residual block, a linear layer."""

    name: str
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)


def layers(network: Network) -> list[Layer]:
    """The layers with parameters, the head last. Blocks that a network repeats are not taken apart.

    A norm belongs to the layer that it follows, and a lone parameter (the positions of a transformer) to the first.
    """
    total = sum(parameter.numel() for parameter in network.whole.parameters())
    found: list[Layer] = []
    lone = dict(network.whole.named_parameters(recurse=False))
    for name, part in _parts(network.whole, "", total):
        own = dict(part.named_parameters(name, recurse=not _is_container(part, total)))
        if _is_container(part, total):
            lone |= own
        elif found and name != network.head and all(parameter.ndim < 2 for parameter in own.values()):
            found[-1].parameters |= own
        else:
            found.append(Layer(name, own))
    found[0].parameters |= lone
    # Every network defines its head last, but for those whose head has been put into an older place.
    return sorted(found, key=lambda layer: layer.name == network.head)


def unfreeze(network: Network, count: int | None) -> list[Layer]:
    """Let the head and the last `count` layers before it learn, None: all of them. What learns, the head last.

    Batch norm keeps its statistics and dropout stays off, in these layers too: the network stays in evaluation mode.
    Photographs are then independent of each other, so that a batch may be computed in parts, and a few hundred
    photographs do not replace statistics that a million have made. Norms learn their scale and shift.
    """
    every = layers(network)
    chosen = every if count is None else every[-(count + 1) :]
    network.whole.eval().requires_grad_(False)
    for layer in chosen:
        for parameter in layer.parameters.values():
            parameter.requires_grad_(True)
    return chosen


def groups(chosen: list[Layer], rates: tuple[float, float], decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, each with its `highest` rate, from the first of `rates` to the second.

    The deeper a layer, the faster it learns, in geometric steps (Howard and Ruder, arXiv:1801.06146). Norms and biases
    have no weight decay: it would pull them away from what they are for.
    """
    made: list[dict[str, Any]] = []
    lowest, highest = rates
    for place, layer in enumerate(chosen):
        share = place / max(len(chosen) - 1, 1) if len(chosen) > 1 else 1.0
        rate = lowest * (highest / lowest) ** share
        for decayed in (True, False):
            params = [p for p in layer.parameters.values() if (p.ndim >= 2) == decayed]
            if params:
                made.append({"params": params, "highest": rate, "weight_decay": decay if decayed else 0.0})
    return made


def _parts(module: nn.Module, prefix: str, total: int) -> Iterator[tuple[str, nn.Module]]:
    """What has parameters below `module`; containers are opened, and yielded too if they own parameters."""
    for leaf, child in module.named_children():
        name = f"{prefix}{leaf}"
        if not any(True for _ in child.parameters()):
            continue
        if not _is_container(child, total):
            yield name, child
            continue
        yield from _parts(child, f"{name}.", total)
        if child._parameters:
            yield name, child


def _is_container(module: nn.Module, total: int) -> bool:
    """A sequence, or a body (a transformer's encoder) that holds more than half of all parameters."""
    if isinstance(module, _CONTAINERS):
        return True
    inside = sum(parameter.numel() for parameter in module.parameters())
    return any(True for _ in module.children()) and 2 * inside > total
