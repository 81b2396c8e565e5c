"""A folded network gives the answers of the network as it was."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from trainer import folding, models

# Of each way in which a torchvision network names its norms one; how many are left, since they follow no convolution.
LEFT = {"resnet18": 0, "googlenet": 0, "densenet121": 62, "shufflenet_v2_x1_0": 0, "mobilenet_v2": 0}
LEFT |= {"efficientnet_lite0": 0, "mobilenet_v3_small": 0, "regnet_y_400mf": 0}


def norms(net: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]


def lived(net: nn.Module) -> nn.Module:
    """With the statistics of a network that has been trained."""
    torch.manual_seed(0)
    for norm in norms(net):
        norm.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
    return net.eval()


@torch.inference_mode()
def close(net: nn.Module, other: nn.Module) -> bool:
    inputs = torch.randn(2, 3, 96, 96)
    expected = net(inputs)
    return bool((expected - other(inputs)).abs().max() <= 1e-4 * expected.abs().max() > 0)


@pytest.mark.parametrize("name", LEFT)
def test_the_answers_stay(name: str) -> None:
    net = lived(models.build(name).whole)
    folded = deepcopy(net)
    folding.fold(folded)
    assert len(norms(folded)) == LEFT[name] < len(norms(net))
    assert close(net, folded)


class Shared(nn.Module):
    """One convolution before two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.one(self.conv(inputs)) + self.two(self.conv(inputs))  # type: ignore[no-any-return]


class Looked(Shared):
    """What the convolution gives is used beside the norm."""

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.conv(inputs)
        return found + self.one(found)  # type: ignore[no-any-return]


class Dependent(Shared):
    """Its way depends on the input."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self.one(self.conv(inputs)) if inputs.sum() > 0 else self.two(self.conv(inputs))  # type: ignore[no-any-return]


class Crossed(nn.Sequential):
    """In a sequence, but not run as one."""

    def forward(self, inputs: Tensor) -> Tensor:
        return self[0](inputs) + self[1](inputs.new_ones(1, 3, 96, 96))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "net",
    [Shared(), Looked(), Dependent(), Crossed(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)),
     nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))],
    ids=lambda net: type(net).__name__,
)  # fmt: skip
def test_what_is_not_safe_is_left(net: nn.Module) -> None:
    for norm in norms(net):
        if norm.track_running_stats:
            lived(norm)
    folded = deepcopy(net.eval())
    folding.fold(folded)
    assert len(norms(folded)) == len(norms(net))
    assert close(net, folded)
