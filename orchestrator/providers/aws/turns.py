"""Whose turn it is among the commands that bake images, or remove what bakes leave behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from ...settings import Home
from ...state import lock

BRIEFLY = 3.0
"""Seconds that another one may take to come to its end; a bake itself takes many minutes, and is not waited for."""


def baking(home: Home, profile: str, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """Beside the profile's own lock, which is held for single changes: machines live on while an image is baked."""

    def tell(text: str) -> None:
        # The lock knows only the name of its file.
        say(text.replace(f"works on the profile {profile}-images", f"bakes or prunes images of {profile}"))

    return lock(home, f"{profile}-images", tell, seconds=BRIEFLY)
