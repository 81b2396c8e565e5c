"""A whole network, from the pixels of photographs to the logits of their classes."""

from __future__ import annotations

import gc
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .images import Preprocessing


@dataclass(frozen=True)
class Forward:
    """`precision` is that of the layers that bear it (autocast); float32 for all of them as they are."""

    whole: nn.Module
    how: Preprocessing
    device: torch.device
    precision: torch.dtype = torch.float32

    def logits(self, pixels: Tensor) -> Tensor:
        """(n, classes) float32 on the device, of bytes (n, size, size, 3)."""
        planes = pixels.to(self.device).permute(0, 3, 1, 2)
        mean, std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) * 255 for v in (self.how.mean, self.how.std))
        inputs = ((planes.float() - mean) / std).contiguous(memory_format=torch.channels_last)
        with self._shortened():
            outputs = self.whole(inputs)
        return outputs.float()  # type: ignore[no-any-return]

    def _shortened(self) -> AbstractContextManager[object]:
        # torch 2.0 refuses float32, even if it is not enabled.
        plain = self.precision == torch.float32
        return nullcontext() if plain else torch.autocast(self.device.type, self.precision)

    @torch.inference_mode()
    def answers(self, pixels: Tensor) -> Tensor:
        """`logits` as float64 on the CPU and without gradients; in two halves where memory does not suffice, and in
        float32 where float16 overflows."""
        try:
            found = self.logits(pixels)
            if self.precision == torch.float16 and not found.isfinite().all():
                found = replace(self, precision=torch.float32).logits(pixels)
            return found.double().cpu()
        except (RuntimeError, MemoryError) as error:
            if not exhausted(error) or len(pixels) == 1:
                raise
        release(self.device)
        half = len(pixels) // 2
        return torch.cat([self.answers(pixels[:half]), self.answers(pixels[half:])])


def exhausted(error: BaseException) -> bool:
    """Whether it says that memory did not suffice: the GPU's, or the processor's."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and any(words in said for words in _EXHAUSTED)


def sentence(error: BaseException) -> str:
    """The first of what it says: torch goes on for a page."""
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".") or type(error).__name__


def release(device: torch.device) -> None:
    """Give back what a failed step held, in the allocator's cache too."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


_EXHAUSTED = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "std::bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "could not create a memory object",
    "could not create a primitive",
    "could not execute a primitive",
)
"""What torch and the libraries under it say when an allocation fails, each in a plain RuntimeError.

The last two, of oneDNN, can mean other things too: that is seen when a single photograph does not go through either.
"""
