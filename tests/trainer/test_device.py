from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer import device
from trainer.errors import TrainerError

# What torch 2.0.1 and 2.14.1 say of themselves.
OLD = ["sm_37", "sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86"]
NEW = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((3, 7), OLD, True),  # the K80 of a p2.xlarge
        ((3, 7), NEW, False),
        ((3, 5), OLD, False),  # older within its generation than what was built
        ((5, 2), OLD, True),  # newer within its generation
        ((7, 0), NEW, False),
        ((8, 9), NEW, True),
        ((9, 0), OLD, False),
        ((9, 0), [*OLD, "compute_86"], True),
        ((8, 0), ["compute_86"], False),
        ((12, 0), NEW, True),
        ((10, 3), ["sm_90a", "compute_90a"], False),
        ((9, 0), ["sm_90a"], True),
        ((9, 0), ["gfx90a", ""], False),
    ],
)
def test_code_runs_where_cuda_says(capability: tuple[int, int], built: list[str], runs: bool) -> None:
    assert device.kernels_for(capability, built) is runs


def pci(bus: Path, vendor: str, kind: str) -> Path:
    folder = bus / "0000:00:1e.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{kind}\n")
    return bus


def test_a_gpu_is_seen_on_the_bus(tmp_path: Path) -> None:
    assert device.present(pci(tmp_path / "k80", "0x10de", "0x030200"))
    assert not device.present(pci(tmp_path / "sound", "0x10de", "0x040300"))
    assert not device.present(pci(tmp_path / "other", "0x1002", "0x030000"))
    assert not device.present(tmp_path / "none")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the GPU can be used")
def test_a_gpu_that_cannot_be_used_is_no_reason_for_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainerError, match=r"the GPU cannot be used: .*--device cpu"):
        device.choose("cuda")
    bus = pci(tmp_path, "0x10de", "0x030200")
    monkeypatch.setattr(device.present, "__defaults__", (bus,))
    with pytest.raises(TrainerError, match=r"driver is not loaded|built for the CPU alone"):
        device.choose("auto")
    assert device.choose("cpu").type == "cpu"
