"""Logging in as the system's `ssh` would: the agent's keys and the key files that the user's configuration names."""

from __future__ import annotations

import base64
import binascii
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import paramiko
from paramiko.agent import AgentSSH
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey

from ..sshconfig import Effective

AGENT_SECONDS = 10.0


class OwnKeys(AuthStrategy):
    """In ssh's order: keys of the agent that the configuration names, the agent's others, then files."""

    def __init__(self, where: Effective) -> None:
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._where = where
        self.passed_over: list[str] = []
        """Why a key was not even shown."""

    def get_sources(self) -> Iterator[AuthSource]:
        named = {blob for path in self._where.identities if (blob := _public(path))}
        with _agent(self._where.agent) as agent:
            held = sorted(agent.get_keys(), key=lambda key: key.asbytes() not in named)
            for key in held:
                if key.asbytes() in named or not self._where.identities_only:
                    yield InMemoryPrivateKey(self._where.user, key)
            for path in self._where.identities:
                loaded = self._load(path)
                if loaded and loaded.asbytes() not in {key.asbytes() for key in held}:
                    yield InMemoryPrivateKey(self._where.user, loaded)

    def _load(self, path: Path) -> paramiko.PKey | None:
        if not path.is_file() or path.suffix == ".pub":
            return None
        try:
            return paramiko.PKey.from_path(path)
        except (paramiko.PasswordRequiredException, TypeError):
            self.passed_over.append(f"{path} has a passphrase: give it to your agent with ssh-add")
        except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError, OSError) as error:
            self.passed_over.append(f"{path} cannot be used here ({error or type(error).__name__})")
        return None


class _Agent(AgentSSH):
    """The agent at a socket of its own, which need not be $SSH_AUTH_SOCK."""

    def __init__(self, place: str | None) -> None:
        super().__init__()
        if place is None:
            return
        dialled = socket.socket(socket.AF_UNIX)
        dialled.settimeout(AGENT_SECONDS)
        try:
            dialled.connect(place)
            self._connect(dialled)  # type: ignore[attr-defined]
        except (OSError, paramiko.SSHException):
            # An agent that is gone has no keys; ssh goes on without it, too.
            dialled.close()

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]


@contextlib.contextmanager
def _agent(place: str | None) -> Iterator[_Agent]:
    agent = _Agent(place)
    try:
        yield agent
    finally:
        agent.close()


def _public(path: Path) -> bytes | None:
    """The public half, from the file beside it, or from a file that is itself the public half."""
    for file in (path, path.with_name(f"{path.name}.pub")):
        with contextlib.suppress(OSError, ValueError, IndexError, binascii.Error):
            kind, key = file.read_text("ascii").split()[:2]
            if kind.startswith(("ssh-", "ecdsa-", "sk-")):
                return base64.b64decode(key)
    return None
