"""What a new machine is told at its first boot: the host key that it is known by, and to stop when nobody needs it.

The modules are cloud-init's `write_files` and `runcmd`; on a machine without `GPU_ROOT`, which is every real one, the
paths below begin at its root.
"""

from __future__ import annotations

import base64
import gzip
import shlex
from pathlib import Path
from typing import Any

import yaml

import ami

from ...errors import GpuError

LIMIT = 16 * 1024
"""EC2 takes no more bytes than these."""
_SELFSTOP = "/usr/local/bin/gpu-selfstop"
_DROP_IN = "/etc/ssh/sshd_config.d/10-gpu.conf"
# A laptop that was closed leaves a session with a terminal behind, which would keep the machine awake for hours.
_ALIVE = ("ClientAliveInterval 60", "ClientAliveCountMax 15")


def user_data(
    host_key: Path, public_key: str, *, port: int, user: str = "ubuntu", autostop: int = 30, max_hours: int = 24
) -> str:
    """A cloud-config document, the same for the same input. It is as secret as the host key in it, and holds no other
    secret.

    `user`: whose runs and terminals keep the machine awake. `autostop`: minutes of idleness, `max_hours`: hours since
    its start, after which it stops itself; 0: never.
    """
    document: dict[str, Any] = {
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_key.read_text(), "ed25519_public": public_key},
        "ssh_pwauth": False,
        "disable_root": True,
        "write_files": [_packed(_SELFSTOP, ami.selfstop())],
        "runcmd": [_arm(user, autostop, max_hours), _configure_sshd(port)],
    }
    text = "#cloud-config\n" + yaml.safe_dump(document, sort_keys=False, default_style=None, width=4096)
    if len(text.encode()) > LIMIT:
        raise GpuError(f"the user data of the machine is over {LIMIT} bytes", "Use an ed25519 host key")
    return text


def _packed(path: str, text: str) -> dict[str, str]:
    # No time in it: a request that is sent again has to be the same.
    packed = gzip.compress(text.encode(), 9, mtime=0)
    return {
        "path": path,
        "permissions": "0755",
        "encoding": "gz+b64",
        "content": base64.b64encode(packed).decode("ascii"),
    }


def _arm(user: str, autostop: int, max_hours: int) -> str:
    return f'"$GPU_ROOT{_SELFSTOP}" install --user {shlex.quote(user)} --autostop {autostop}m --max {max_hours}h'


def _configure_sshd(port: int) -> str:
    lines = [*([f"Port {port}"] if port != 22 else []), *_ALIVE]
    text = shlex.quote("".join(f"{line}\\n" for line in lines))
    # Since Ubuntu 22.10 systemd listens for sshd, on the ports that it reads when it is told to:
    # https://discourse.ubuntu.com/t/sshd-now-uses-socket-based-activation-ubuntu-22-10-and-later/30189
    again = "restart ssh" if port == 22 else "daemon-reload; systemctl try-restart ssh.socket ssh"
    folder, file = _DROP_IN.rsplit("/", 1)
    return f'd=$GPU_ROOT{folder}; mkdir -p "$d"; printf {text} >"$d/{file}"; systemctl {again}'
