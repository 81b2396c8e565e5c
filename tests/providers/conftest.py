"""An emulated EC2 on loopback, a home of one's own, and a log of every call that changes something."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from orchestrator.providers.aws.provider import AwsProvider
from orchestrator.providers.base import Wish
from orchestrator.settings import Home, Profile

CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-west-2"}


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """The endpoint's address. It also tells the caller's own, as the sandbox does."""
    os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    moto = DomainDispatcherApplication(create_backend_app)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/checkip":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"127.0.0.1\n"]
        return moto(environ, start_response)

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@dataclass
class Cloud:
    """One test's own profile in the emulated region."""

    endpoint: str
    home: Home
    profile: Profile
    said: list[str] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    interrupt: Callable[[int, str], None] = lambda _number, _when: None

    def provider(self, kind: str = "t2") -> AwsProvider:
        made = AwsProvider.open(
            self.profile, kind=kind, home=self.home, endpoint_url=self.endpoint, say=self.said.append
        )
        for client in (made._session.ec2, made._session.ec2_once):
            client.meta.events.register("provide-client-params.ec2.*", self._before)
            client.meta.events.register("after-call.ec2.*", self._after)
        return made

    def start(self, kind: str = "t2") -> Any:
        provider = self.provider(kind)
        return provider.start(provider.plan(Wish(kind)))

    def remove(self) -> None:
        provider = self.provider()
        provider.remove(provider.plan_removal())

    @property
    def client(self) -> Any:
        """Another client, that of a bystander."""
        import boto3

        return boto3.client("ec2", endpoint_url=self.endpoint, **CREDENTIALS)

    def _before(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if not model.name.startswith("Describe"):
            self.calls.append((model.name, params))
            self.interrupt(len(self.calls), "before")

    def _after(self, model: Any, **_: Any) -> None:
        if not model.name.startswith("Describe"):
            self.interrupt(len(self.calls), "after")


@pytest.fixture
def cloud(emulator: str, tmp_path: Path) -> Cloud:
    home = Home(tmp_path / "home", tmp_path / "home/state", tmp_path / "home/cache")
    return Cloud(emulator, home, Profile(f"test-{os.getpid()}-{tmp_path.name}", emulated=True, ssh_port=2222))
