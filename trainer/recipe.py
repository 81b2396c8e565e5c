"""What a row of features depends on, besides the bytes of its photograph: the key of the cache."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from .images import Preprocessing

VERSION = 2
"""Of the computation itself; a higher one leaves what is cached behind."""


@dataclass(frozen=True)
class Recipe:
    """Two rows of one photograph are the same if and only if all of this is.

    `weights` is the SHA-256 of their file, `layer` the one whose input the features are. `view` 0 is the mean over
    photograph and mirror image; the others are cut out of the photograph at random, by `seed`.
    """

    model: str
    weights: str
    layer: str
    preprocessing: Preprocessing
    precision: str
    device: str
    view: int = 0
    seed: int = 0

    def of_view(self, view: int, seed: int) -> Recipe:
        """The same for another view; the whole photograph's does not depend on the seed."""
        return replace(self, view=view, seed=seed if view else 0)

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "version": VERSION}

    def key(self) -> str:
        """The SHA-256 of it all, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.document(), sort_keys=True).encode()).hexdigest()
