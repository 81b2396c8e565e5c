"""What a new machine is told at its first boot: the host key that it is known by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ...errors import GpuError

LIMIT = 16 * 1024
"""EC2 takes no more bytes than these."""


def user_data(host_key: Path, public_key: str, *, port: int) -> str:
    """A cloud-config document. It is as secret as the host key in it, and holds no other secret."""
    document: dict[str, Any] = {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key.read_text(), "ed25519_public": public_key},
        "ssh_pwauth": False,
        "disable_root": True,
    }
    if port != 22:
        document["runcmd"] = [_listen(port)]
    text = "#cloud-config\n" + yaml.safe_dump(document, sort_keys=False, default_style=None, width=4096)
    if len(text.encode()) > LIMIT:
        raise GpuError(f"the user data of the machine is over {LIMIT} bytes", "Use an ed25519 host key")
    return text


def _listen(port: int) -> str:
    folder = '"$GPU_ROOT/etc/ssh/sshd_config.d"'
    return f'mkdir -p {folder} && echo "Port {port}" > {folder}/10-gpu.conf && systemctl restart ssh'
