"""AdamW over layers that learn at different rates, with all of its state as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .layers import Layer, groups
from .plan import Plan, Seams

_SQUARES = 0.99
_EPSILON = 1e-5
"""Both as fastai has them: 0.999 and 1e-8 are for trainings of more steps than these."""


class Optimizer:
    """In float16 the loss is scaled, lest small gradients vanish, and a step that overflows is left out."""

    def __init__(self, chosen: list[Layer], plan: Plan, seams: Seams) -> None:
        self._names = [name for layer in chosen for name in layer.parameters]
        made = groups(chosen, plan.rates, plan.decay)
        self._adam = torch.optim.AdamW(made, lr=0.0, betas=(0.9, _SQUARES), eps=_EPSILON)
        self._parameters = {name: p for layer in chosen for name, p in layer.parameters.items()}
        self._scaler = _scaler(seams)

    def scale(self, loss: Tensor) -> Tensor:
        """What to go backward from."""
        return self._scaler.scale(loss)  # type: ignore[no-any-return]

    def step(self, rate: float, momentum: float) -> None:
        """One step with the gradients that are there; `rate` is a share of each group's highest."""
        for group in self._adam.param_groups:
            group["lr"] = group["highest"] * rate
            group["betas"] = (momentum, _SQUARES)
        self._scaler.step(self._adam)
        self._scaler.update()

    def facts(self) -> dict[str, Any]:
        """The state that is no tensor: that of the scaling, {} without."""
        return dict(self._scaler.state_dict())

    def tensors(self) -> dict[str, Tensor]:
        """The moments of each parameter under `adam.NAME.PARAMETER`."""
        return {
            f"adam.{what}.{name}": torch.as_tensor(value)
            for name, parameter in self._parameters.items()
            for what, value in self._adam.state.get(parameter, {}).items()
        }

    def restore(self, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> None:
        """The reverse of `tensors` and `facts`."""
        if facts:
            self._scaler.load_state_dict(facts)
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, what, name = key.split(".", 2)
                parameter = self._parameters[name]
                # In the parameter's own order in memory: another one could take another kernel, which rounds otherwise.
                kept = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value.clone()
                self._adam.state[parameter][what] = kept.detach()


def _scaler(seams: Seams) -> Any:
    enabled = seams.precision == torch.float16
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(seams.device.type, enabled=enabled)
    # torch before 2.3.
    return torch.cuda.amp.GradScaler(enabled=enabled)
