from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from trainer.endings import ending


@pytest.mark.parametrize("work", [lambda: torch.empty(1 << 55), lambda: bytearray(1 << 60)])
def test_too_little_memory_is_one_sentence(work: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(lambda: bool(work()), "none") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: memory does not suffice (") and "more memory." in line and len(line) < 300


def test_a_mistake_of_ours_is_no_sentence() -> None:
    with pytest.raises(RuntimeError, match="of ours"):
        ending(lambda: (_ for _ in ()).throw(RuntimeError("a mistake of ours")), "none")
