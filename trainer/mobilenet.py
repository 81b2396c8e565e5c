"""MobileNetV2 with torchvision's names, on torch alone."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from .blocks import InvertedResidual, activated, convolution

NAME = "mobilenet_v2"
_EPS = 1e-5
# Expansion, channels, blocks, stride of the first block (table 2 of arXiv:1801.04381).
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_FIRST, _LAST = 32, 1280


def build() -> nn.Module:
    """The network with random weights and 1000 outputs."""
    layers: list[nn.Module] = [activated(convolution(3, _FIRST, kernel=3, stride=2), _EPS)]
    channels = _FIRST
    for expansion, outputs, blocks, first in _STAGES:
        for number in range(blocks):
            layers.append(_block(channels, outputs, expansion, 1 if number else first))
            channels = outputs
    layers.append(activated(convolution(channels, _LAST), _EPS))
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            classifier=nn.Sequential(nn.Dropout(0.2), nn.Linear(_LAST, 1000)),
        )
    )


def _block(inputs: int, outputs: int, expansion: int, stride: int) -> nn.Module:
    wide = inputs * expansion
    layers: list[nn.Module] = [] if expansion == 1 else [activated(convolution(inputs, wide), _EPS)]
    layers.append(activated(convolution(wide, wide, kernel=3, stride=stride, groups=wide), _EPS))
    layers += [convolution(wide, outputs), nn.BatchNorm2d(outputs, eps=_EPS)]
    return InvertedResidual(nn.Sequential(*layers), inside="conv", adds=stride == 1 and inputs == outputs)
