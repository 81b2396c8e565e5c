"""The models that exist, read without torch: both sides of a connection check a name before anything is sent."""

from __future__ import annotations

import difflib
from pathlib import Path

from .errors import UsageError

DEFAULT = "efficientnet_lite0"


def known() -> tuple[str, ...]:
    """Every model's name, sorted."""
    return tuple(Path(__file__).with_name("models.txt").read_text(encoding="ascii").split())


def check(name: str) -> str:
    """The name itself; UsageError with the nearest names unless it is a model's."""
    models = known()
    if name in models:
        return name
    close = difflib.get_close_matches(name.lower(), models, n=3, cutoff=0.5)
    remedy = f"The nearest names are {', '.join(close)}" if close else f"The default is {DEFAULT}; vgg16 is another"
    raise UsageError(f"there is no model {name}", remedy)
