"""EfficientNet-Lite0: torchvision's `efficientnet_b0` with the changes that made it fit for small devices."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import efficientnet_b0
from torchvision.ops.misc import SqueezeExcitation

NAME = "efficientnet_lite0"


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
    net = efficientnet_b0(weights=None)
    _change(net)
    return net


def _change(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, SqueezeExcitation):
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.SiLU):
            setattr(module, name, nn.ReLU6(inplace=True))
        elif isinstance(child, nn.Conv2d) and child.stride != (1, 1):
            setattr(module, name, _same_padding(child))
        else:
            if isinstance(child, nn.BatchNorm2d):
                child.eps = 1e-3
            _change(child)


def _same_padding(old: nn.Conv2d) -> SamePadding:
    return SamePadding(
        old.in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        groups=old.groups,
        bias=old.bias is not None,
    )


def rename(published: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The package's tensors under our network's names: both list their layers in the order of the computation."""
    ours = OrderedDict(net.state_dict())
    if published.keys() == ours.keys() or len(published) != len(ours):
        return dict(published)
    return dict(zip(ours, published.values(), strict=True))
