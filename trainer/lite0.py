"""EfficientNet-Lite0: EfficientNet-B0 with the changes that made it fit for small devices, on torch alone.

The names are those of torchvision's `efficientnet_b0`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from .blocks import InvertedResidual, activated, convolution

NAME = "efficientnet_lite0"
_EPS = 1e-3
# Expansion, kernel, stride of the first block, channels, blocks (table 1 of arXiv:1905.11946).
_STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)  # fmt: skip
_FIRST, _LAST = 32, 1280
_DROP = 0.2


class SamePadding(nn.Conv2d):
    """A strided convolution with TensorFlow's "same" padding: what is odd goes to the right and the bottom."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Conv2d gave it
        height, width = (self._both_sides(input.shape[axis], axis - 2) for axis in (2, 3))
        padded = functional.pad(input, [width // 2, width - width // 2, height // 2, height - height // 2])
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _both_sides(self, length: int, axis: int) -> int:
        stride, kernel = self.stride[axis], self.kernel_size[axis]
        return max((-(-length // stride) - 1) * stride + kernel - length, 0)


def build() -> nn.Module:
    """The network with random weights and 1000 outputs."""
    layers: list[nn.Module] = [activated(convolution(3, _FIRST, kernel=3, stride=2, made=SamePadding), _EPS)]
    channels, done, blocks = _FIRST, 0, sum(stage[-1] for stage in _STAGES)
    for expansion, kernel, first, outputs, count in _STAGES:
        stage = []
        for number in range(count):
            drop = _DROP * done / blocks
            stage.append(_block(channels, outputs, (expansion, kernel, 1 if number else first), drop))
            channels, done = outputs, done + 1
        layers.append(nn.Sequential(*stage))
    layers.append(activated(convolution(channels, _LAST), _EPS))
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            classifier=nn.Sequential(nn.Dropout(0.2), nn.Linear(_LAST, 1000)),
        )
    )


def rename(published: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The package's tensors under our network's names: both list their layers in the order of the computation."""
    ours = OrderedDict(net.state_dict())
    if published.keys() == ours.keys() or len(published) != len(ours):
        return dict(published)
    return dict(zip(ours, published.values(), strict=True))


def _block(inputs: int, outputs: int, shape: tuple[int, int, int], drop: float) -> nn.Module:
    expansion, kernel, stride = shape
    wide = inputs * expansion
    layers: list[nn.Module] = [] if expansion == 1 else [activated(convolution(inputs, wide), _EPS)]
    made = SamePadding if stride > 1 else nn.Conv2d
    layers.append(activated(convolution(wide, wide, kernel=kernel, stride=stride, groups=wide, made=made), _EPS))
    # Where B0 has its squeeze and excitation, which Lite0 has not: the names of what follows are kept.
    layers.append(nn.Identity())
    layers.append(nn.Sequential(convolution(wide, outputs), nn.BatchNorm2d(outputs, eps=_EPS)))
    block = nn.Sequential(*layers)
    return InvertedResidual(block, inside="block", adds=stride == 1 and inputs == outputs, drop=drop)
