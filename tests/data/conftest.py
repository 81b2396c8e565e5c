from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.webserver import Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as found:
        yield found
