"""The frozen part of a network, ready to be run: folded, in its precision, on its device."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from . import folding, precision
from .forward import exhausted, release
from .images import Preprocessing
from .models import Network
from .reading import Pixels
from .stages import Stages

Matrix = numpy.ndarray[Any, numpy.dtype[numpy.float32]]


class Frozen:
    """Pixels in, features out."""

    def __init__(self, network: Network, how: Preprocessing, device: torch.device, arithmetic: torch.dtype) -> None:
        self.device, self.precision = device, arithmetic
        self._most: int | None = None
        """Photographs that memory takes at once; None as long as it has taken all."""
        self._net = _prepared(network, arithmetic).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (how.mean, how.std))
        self._scale, self._shift = 1 / (std * 255), -mean / std

    def features(self, pixels: Pixels, stages: Stages, lanes: int, *, mirrored: bool) -> Matrix:
        """(n, width) float32 of bytes (n, size, size, 3); `mirrored`: the mean over each and its mirror image.

        Too little memory on the GPU: in parts of half the size from then on.
        """
        rows: list[Matrix] = []
        rest = pixels
        while len(rest):
            part = rest[: self._most]
            try:
                rows.append(self._at_once(part, stages, lanes, mirrored))
                rest = rest[len(part) :]
                continue
            except RuntimeError as error:
                if self.device.type != "cuda" or not exhausted(error) or len(part) == 1:
                    raise
            # Only here, where the error has let go of what the failed forward held.
            release(self.device)
            self._most = len(part) // 2
        return numpy.concatenate(rows)

    @torch.inference_mode()
    def _at_once(self, pixels: Pixels, stages: Stages, lanes: int, mirrored: bool) -> Matrix:
        with stages.during("copy", lanes):
            # Bytes travel to the device; as (n, 3, size, size) they are channels-last already.
            planes = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
            inputs = torch.addcmul(self._shift, planes.float(), self._scale)
            if mirrored:
                inputs = torch.cat((inputs, inputs.flip(3)))
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with stages.during("forward", lanes):
            rows = self._run(inputs, self.precision)
            if self.precision == torch.float16 and not rows.isfinite().all():
                rows = self._run(inputs, torch.float32)
            if mirrored:
                rows = (rows[: len(pixels)] + rows[len(pixels) :]) / 2
            return rows.cpu().numpy()

    def _run(self, inputs: Tensor, arithmetic: torch.dtype) -> Tensor:
        with precision.running(self.device, arithmetic):
            return self._net(inputs).float()  # type: ignore[no-any-return]


def _prepared(network: Network, arithmetic: torch.dtype) -> nn.Module:
    """A copy without its head."""
    whole = network.whole.get_submodule(network.head)
    network.set_head(nn.Identity())
    copy = deepcopy(network.whole).eval().requires_grad_(False)
    network.set_head(whole)
    folding.fold(copy)
    precision.shorten(copy, arithmetic)
    return copy
