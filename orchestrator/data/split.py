"""Which images of a class are kept for validation, which are sealed away, and which make the sample: pure functions of
their names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import GpuError


@dataclass(frozen=True)
class Amount:
    """How many images of a class: `count` of them, or a `share` of them, at most `most`."""

    count: int | None = None
    share: float | None = None
    most: int | None = None

    @classmethod
    def parse(cls, text: str) -> Amount:
        """`1000` or `20%` (also `0.2`); ValueError for anything else."""
        words = text.strip()
        if re.fullmatch(r"[0-9]{1,9}", words) and int(words):
            return cls(count=int(words))
        if re.fullmatch(r"[0-9]*\.?[0-9]+\s*%?", words):
            share = float(words.rstrip("% ")) / (100 if words.endswith("%") else 1)
            if 0 < share < 1:
                return cls(share=share)
        raise ValueError(f"{text!r} is neither a count nor a share")

    def of(self, label: str, size: int, *, leaving: int) -> int:
        """Of `size` images of the class `label`: at least one, and at least `leaving` stay.

        GpuError when that cannot be; a count is kept to exactly.
        """
        if size <= leaving or (self.count is not None and self.count > size - leaving):
            remedy = f"Give at most {size - leaving}" if size > leaving else "Get more images of it"
            raise GpuError(
                f"the class {label!r} has {size} image{'s' * (size != 1)}, and {self} of them cannot be taken away",
                remedy,
            )
        if self.count is not None:
            return self.count
        found = int(size * (self.share or 0) + 1e-9)
        return min(max(found if self.most is None else min(self.most, found), 1), size - leaving)

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{(self.share or 0) * 100:g}%"


LESSON = Amount(share=0.2, most=1000)
"""1,000 of the lesson's 12,500 dogs; 80 of 400."""


@dataclass(frozen=True)
class Shares:
    """How a class is divided: `holdout` of it is sealed away, `valid` of the rest is for validation, and the samples
    have so many images."""

    valid: Amount = LESSON
    sample_train: int = 100
    sample_valid: int = 25
    holdout: Amount | None = None

    def document(self) -> dict[str, Any]:
        """For the recipe of a data set; what was not asked for does not stand in it."""
        samples = {"sample_train": self.sample_train, "sample_valid": self.sample_valid}
        count = {} if self.valid.count is None else {"valid_count": self.valid.count}
        sealed = {} if self.holdout is None else {"holdout": asdict(self.holdout)}
        return {"valid_share": self.valid.share, "valid_most": self.valid.most, **count, **samples, **sealed}


def shuffled(names: Iterable[str], *salt: object) -> list[str]:
    """The names in an order that the salt alone decides, the same for every Python and every order given."""
    prefix = b"".join(_bytes(f"{part}\0") for part in salt)
    return sorted(names, key=lambda name: (hashlib.sha256(prefix + _bytes(name)).digest(), name))


def divided(names: Iterable[str], shares: Shares, seed: int, label: str) -> tuple[list[str], list[str]]:
    """The names for train and for validation: both have at least one."""
    order = shuffled(names, seed, label)
    held = shares.valid.of(label, len(order), leaving=1)
    return sorted(order[held:]), sorted(order[:held])


def sealed(names: Iterable[str], amount: Amount, seed: int, label: str) -> list[str]:
    """The names that are kept away from training and validation; two are left for these."""
    order = shuffled(names, seed, label, "holdout")
    return order[: amount.of(label, len(order), leaving=2)]


def sampled(names: Iterable[str], most: int, *salt: object) -> list[str]:
    """`most` of the names; of fewer than that a quarter, and no fewer than eight where there are so many."""
    order = shuffled(names, *salt)
    return sorted(order[: most if len(order) >= most else max(min(8, most), len(order) // 4)])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
