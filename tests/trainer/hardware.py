"""Where the networks of these tests run: on the CPU, or with `TEST_DEVICE=cuda` on the GPU (`make test-gpu`)."""

from __future__ import annotations

import os

DEVICE = os.environ.get("TEST_DEVICE", "cpu")
