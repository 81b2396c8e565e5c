"""Any torchvision classification model, cut in two: the frozen part that makes features, and the head to be fitted."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import lite0, mobilenet
from .errors import TrainerError
from .images import Preprocessing

_HALF, _MEAN, _STD = (0.5, 0.5, 0.5), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The networks that need no torchvision, which takes seconds to import, and what their weights were made for.
_OWN = {
    lite0.NAME: (lite0.build, Preprocessing(224, None, "bicubic", _HALF, _HALF)),
    mobilenet.NAME: (mobilenet.build, Preprocessing(224, 232, "bilinear", _MEAN, _STD)),
}


@dataclass(frozen=True)
class Network:
    """`whole` has an `nn.Linear` at `head` (a dotted name) that takes `width` features."""

    name: str
    whole: nn.Module
    head: str
    width: int

    def set_head(self, module: nn.Module) -> None:
        parent, _, leaf = self.head.rpartition(".")
        owner = self.whole.get_submodule(parent)
        owner._modules[leaf] = module


def build(name: str) -> Network:
    """The network `name` with random weights, in evaluation mode."""
    whole = _OWN[name][0]() if name in _OWN else _torchvisions(name)
    if name.startswith("squeezenet"):
        # Its last layer is a convolution before the pooling; a linear head on the pooled features takes its place.
        whole.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))
    head, linear = [(path, part) for path, part in whole.named_modules() if isinstance(part, nn.Linear)][-1]
    return Network(name, whole.eval(), head, linear.in_features)


def preprocessing(name: str) -> Preprocessing:
    """What the published weights of `name` were made for."""
    if name in _OWN:
        return _OWN[name][1]
    import torchvision

    made_for = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    mean, std = ((float(a), float(b), float(c)) for a, b, c in (made_for.mean, made_for.std))
    return Preprocessing(
        int(made_for.crop_size[0]), int(made_for.resize_size[0]), str(made_for.interpolation.value), mean, std
    )


def load(network: Network, published: Mapping[str, Tensor]) -> None:
    """Put the frozen part's weights in place; the head of the file is left out. TrainerError if they do not fit."""
    state = _ours(network, published)
    # The version numbers of the layers, which a plain file of tensors has not.
    state._metadata = getattr(published, "_metadata", None) or network.whole.state_dict()._metadata  # type: ignore
    own = network.whole.state_dict()
    wrong = [key for key in state if key in own and state[key].shape != own[key].shape]
    missing = [key for key in own if key not in state and not _may_lack(network, key)]
    if wrong or missing:
        example = f"{wrong[0]} has the wrong shape" if wrong else f"{missing[0]} is not in it"
        raise TrainerError(
            f"the weights do not fit {network.name}: {example}",
            f"Give the weights of {network.name} with --weights FILE",
        )
    network.whole.load_state_dict(state, strict=False)


def published_head(network: Network, published: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
    """The weight (classes, width) and the bias (classes) in the file; None where it has no head that fits.

    A squeezenet's never does: its own stands before the pooling, where no head on features can stand in for it.
    """
    state = _renamed(network, published)
    weight = state.get(f"{network.head}.weight")
    if weight is None or weight.ndim != 2 or weight.shape[1] != network.width:
        return None
    # One model's head has no bias.
    bias = state.get(f"{network.head}.bias")
    return weight, torch.zeros(len(weight)) if bias is None else bias


def _torchvisions(name: str) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None, **_options(name))  # type: ignore[no-any-return]


def _options(name: str) -> dict[str, Any]:
    if name in ("googlenet", "inception_v3"):
        # The auxiliary heads serve training from scratch; the weights were made with this input transformation.
        return {"aux_logits": False, "transform_input": True, "init_weights": False}
    if name.startswith("vit_"):
        return {"image_size": preprocessing(name).size}
    return {}


def _ours(network: Network, published: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    renamed = _renamed(network, published)
    return OrderedDict((key, value) for key, value in renamed.items() if not _in_head(network, key))


def _renamed(network: Network, published: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """The file's tensors under our network's names."""
    renamed = lite0.rename(published, network.whole) if network.name == lite0.NAME else published
    dense = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\..*)$")
    names = {key: dense.sub(r"\1\2", key) if network.name.startswith("densenet") else key for key in renamed}
    return OrderedDict((names[key], value) for key, value in renamed.items())


def _in_head(network: Network, key: str) -> bool:
    last = "classifier" if network.name.startswith("squeezenet") else network.head
    return key.startswith(f"{last}.")


def _may_lack(network: Network, key: str) -> bool:
    return _in_head(network, key) or key.endswith("num_batches_tracked")
