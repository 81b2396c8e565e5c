"""The machine of the remote tests, and a bad link to it."""

from __future__ import annotations

from tests.remote.conftest import machine

__all__ = ["machine"]
