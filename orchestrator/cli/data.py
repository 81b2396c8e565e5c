"""`gpu data`: its commands, a file for each thing that is done with data sets."""

from __future__ import annotations

from . import holdings, inspection, preparation
from .options import Group


def register(gpu: Group) -> None:
    @gpu.group("data", cls=Group)
    def data() -> None:
        """Data sets: made from archives, checked, shown, fetched, sent, listed."""

    preparation.register(data)
    inspection.register(data)
    holdings.register(data)
