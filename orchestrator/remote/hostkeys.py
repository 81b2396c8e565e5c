"""The machine's own host key. The first one stood in its user data; here it makes one that nobody else ever had.

At every moment each key that the machine may show is among those that this computer accepts, whichever end is killed:
the new key is accepted here before it is put in place there, and the old one is forgotten here only after a new
connection has shown the new one. What was interrupted is gone on with by calling again.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable

from ..errors import GpuError
from ..trust import Trust
from .ssh import Connection, connect

SETTLE_SECONDS = 20.0
"""How long sshd may take to come back with its new key."""
COMMAND_SECONDS = 60.0
NO_SUDO, NO_FILE = 64, 65

# A new key is complete before it has its name, which `ln` gives to one only; it is on the disk before it is told.
_MAKE = f"""set -eu
umask 077
key="${{GPU_ROOT:-}}/etc/ssh/ssh_host_ed25519_key"
sudo -n true 2>/dev/null || exit {NO_SUDO}
sudo test -f "$key" || exit {NO_FILE}
now=$(sudo ssh-keygen -y -f "$key")
echo "now $now"
case $now in
  *"$1"*)
    if ! sudo test -s "$key.gpu"; then
      sudo ssh-keygen -q -t ed25519 -N '' -C '' -f "$key.gpu.$$"
      sudo ln "$key.gpu.$$" "$key.gpu" 2>/dev/null || true
      sudo rm -f "$key.gpu.$$" "$key.gpu.$$.pub"
      sync
    fi
    echo "next $(sudo ssh-keygen -y -f "$key.gpu")" ;;
esac
"""

# sshd takes a .pub beside a key that it does not belong to amiss, so that one goes first.
_REPLACE = """set -eu
key="${GPU_ROOT:-}/etc/ssh/ssh_host_ed25519_key"
if sudo test -s "$key.gpu"; then
  sudo rm -f "$key.pub"
  sudo mv -f "$key.gpu" "$key"
  sync
fi
sudo ssh-keygen -y -f "$key" | sudo tee "$key.pub" >/dev/null
sudo chmod 644 "$key.pub"
sudo systemctl restart ssh 2>/dev/null || sudo systemctl restart sshd
"""

_SAID = re.compile(r"^(now|next) (ssh-ed25519 [A-Za-z0-9+/]+=*)", re.M)


class Unusual(GpuError):
    """The machine keeps the host key that it has; it can be entered as before."""


def settle(connection: Connection, trust: Trust, say: Callable[[str], None]) -> None:
    """Replace the first host key by one made on the machine; nothing to do when that has been done.

    Raises `Unusual` when the machine's sshd is not one that this knows, and ConnectionLost when it breaks off.
    """
    if not trust.first.exists():
        return
    shown, accepted = connection.host_key, trust.keys()
    if shown in accepted[1:] or accepted == [shown]:
        _forget_first(connection, trust, shown)
        return
    new = _new_key(connection, shown, accepted)
    _accept(connection, trust, [shown, new])
    connection.check(_shell(_REPLACE), timeout=COMMAND_SECONDS)
    _await(connection, new, say)
    _forget_first(connection, trust, new)


def _new_key(connection: Connection, shown: str, accepted: list[str]) -> str:
    """The public key that the machine has made, or made before an interruption and not begun to show."""
    done = connection.run(_shell(_MAKE, shown), timeout=COMMAND_SECONDS)
    said: dict[str, str] = {found[1]: found[2] for found in _SAID.finditer(done.stdout.decode(errors="replace"))}
    if not done.exit_code and "next" in said:
        return said["next"]
    if not done.exit_code and said.get("now", "") in accepted:
        return said["now"]
    if done.exit_code == NO_SUDO:
        raise Unusual("the machine keeps the host key of its user data", "There is no sudo without a password on it")
    if done.exit_code in (0, NO_FILE):
        raise Unusual("the machine keeps the host key of its user data", "Its sshd has the key in another place")
    reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
    raise Unusual(f"the machine keeps the host key of its user data: {reason[:200]}", "The next start tries again")


def _await(connection: Connection, new: str, say: Callable[[str], None]) -> None:
    """Until a new connection, checked against both keys, shows the new one."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        with connect(connection.address, wait=SETTLE_SECONDS, say=say) as fresh:
            if fresh.host_key == new:
                return
        if time.monotonic() > deadline:
            raise Unusual(
                "the machine still shows the host key of its user data", "Its sshd seems to have the key elsewhere"
            )
        time.sleep(0.2)


def _accept(connection: Connection, trust: Trust, keys: list[str]) -> None:
    trust.keep(keys)
    trust.write_known_hosts(keys, host=connection.address.host, port=connection.address.port)


def _forget_first(connection: Connection, trust: Trust, new: str) -> None:
    _accept(connection, trust, [new])
    trust.forget_first()


def _shell(script: str, *words: str) -> str:
    return shlex.join(["sh", "-c", script, "sh", *words])
