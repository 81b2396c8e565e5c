"""The networks that are defined here are torchvision's, layer by layer."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from trainer import lite0, mobilenet


def same(ours: nn.Module, theirs: nn.Module) -> None:
    """The same names and shapes, and of the same weights (randomised, statistics too) the same answers."""
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0, generator=draw)
            elif tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=draw) * 0.02)
    ours.load_state_dict(theirs.state_dict())
    pixels = torch.randn(2, 3, 96, 80, generator=draw)
    with torch.inference_mode():
        expected = theirs.eval()(pixels)
        assert expected.std() > 0
        assert torch.allclose(ours.eval()(pixels), expected, rtol=1e-4, atol=1e-5)


def test_mobilenet_is_torchvision_s() -> None:
    from torchvision.models import mobilenet_v2

    same(mobilenet.build(), mobilenet_v2(weights=None))


def test_lite0_is_efficientnet_b0_made_light() -> None:
    """No squeeze-and-excitation, ReLU6 for SiLU, TensorFlow's padding, and its epsilon: what «lite» means."""
    from torchvision.models import efficientnet_b0
    from torchvision.ops.misc import SqueezeExcitation

    def lighten(module: nn.Module) -> None:
        for name, child in list(module.named_children()):
            if isinstance(child, SqueezeExcitation):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.SiLU):
                setattr(module, name, nn.ReLU6(inplace=True))
            elif isinstance(child, nn.Conv2d) and child.stride != (1, 1):
                child.register_forward_pre_hook(pad)
            else:
                if isinstance(child, nn.BatchNorm2d):
                    child.eps = 1e-3
                lighten(child)

    def pad(module: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        assert isinstance(module, nn.Conv2d)
        module.padding = (0, 0)
        lengths = zip(inputs[0].shape[:1:-1], module.kernel_size[::-1], module.stride[::-1], strict=True)
        missing = [max((-(-length // stride) - 1) * stride + kernel - length, 0) for length, kernel, stride in lengths]
        return functional.pad(inputs[0], [side for m in missing for side in (m // 2, m - m // 2)])

    theirs = efficientnet_b0(weights=None)
    lighten(theirs)
    same(lite0.build(), theirs)
