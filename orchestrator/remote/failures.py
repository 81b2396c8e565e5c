"""Why a machine was not entered, or the connection to it broke: every failure by its own name."""

from __future__ import annotations

from ..errors import GpuError
from ..providers.base import Address


class Unreachable(GpuError):
    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"{host} port {port} does not answer: {reason}", "See whether it runs with: gpu status")


class NotSsh(GpuError):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"what answers at {host} port {port} does not speak SSH", "Check the address and the port")


class HostKeyUnknown(GpuError):
    def __init__(self, host: str, port: int, where: str) -> None:
        super().__init__(
            f"the host key of {host} port {port} is not in {where}, so it may be another machine",
            "Nothing was sent to it; add its key there only after checking it by another way",
        )


class HostKeyChanged(GpuError):
    def __init__(self, host: str, port: int, where: str) -> None:
        super().__init__(
            f"{host} port {port} shows another host key than {where} has: somebody may be listening in",
            "Nothing was sent to it; find out why before removing the old key",
        )


class AuthRefused(GpuError):
    def __init__(self, address: Address, reason: str) -> None:
        key = f"the key {address.key_file}" if address.key_file else "every key of yours"
        super().__init__(
            f"{address.user}@{address.host} refused {key}: {reason}", "Check the user's name and that this is its key"
        )


class WayRefused(GpuError):
    def __init__(self, host: str, words: str) -> None:
        super().__init__(
            f"the way to {host} is barred: {words.rstrip('.')}",
            f"Nothing was sent to {host}; see that `ssh {host}` gets through without a question",
        )


class ConnectionLost(GpuError):
    def __init__(self, host: str) -> None:
        super().__init__(f"the connection to {host} broke", "What runs there goes on; ask again with: gpu status")
