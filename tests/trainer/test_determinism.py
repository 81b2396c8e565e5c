from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from trainer.determinism import deterministic


def test_a_pool_that_does_nothing_is_left_out_and_any_other_is_not() -> None:
    pools = nn.Sequential(nn.AdaptiveAvgPool2d((7, 7)), nn.AdaptiveAvgPool2d(1))
    planes = torch.rand(2, 3, 7, 7)
    plain = pools(planes)
    with deterministic(pools, print):
        assert pools[0](planes) is planes
        assert torch.equal(pools(planes), plain)
        assert pools[0](torch.rand(2, 3, 9, 9)).shape == (2, 3, 7, 7)
    assert pools[0](planes) is not planes


def test_what_has_no_repeatable_kernel_is_said_once() -> None:
    said: list[str] = []
    alarm = "grid_sampler_2d_backward_cuda does not have a deterministic implementation, but you set 'torch.use_..."
    before = torch.are_deterministic_algorithms_enabled(), warnings.showwarning
    with pytest.warns(UserWarning, match="something else"), deterministic(nn.Identity(), said.append):
        for _ in range(2):
            warnings.warn(alarm, stacklevel=1)
        warnings.warn("something else", stacklevel=1)
        assert torch.are_deterministic_algorithms_enabled()
    assert said == [
        "warning: torch has no repeatable grid_sampler_2d_backward_cuda: run again, the last digits may be others"
    ]
    assert (torch.are_deterministic_algorithms_enabled(), warnings.showwarning) == before
