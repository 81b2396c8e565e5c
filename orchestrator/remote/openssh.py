"""The system's own `ssh`, told where the machine is and held to its one host key. Loads no paramiko."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..providers.base import Address
from ..sshconfig import effective

CONNECT_SECONDS = 10.0


def place(host: str, port: int) -> str:
    """What known_hosts calls it."""
    return host if port == 22 else f"[{host}]:{port}"


def config_file(address: Address) -> list[str]:
    """With a key of its own the machine's access owes nothing to the user's SSH configuration."""
    return ["ssh", "-F", "/dev/null"] if address.key_file else ["ssh"]


def ssh_argv(
    address: Address, *, tty: bool = False, command: Sequence[str] = (), seconds: float = CONNECT_SECONDS
) -> list[str]:
    """The system's `ssh` to the same machine, as strict as `Connection`. `tty`: a terminal for `command` too."""
    argv = config_file(address)
    options = ["StrictHostKeyChecking=yes", "UpdateHostKeys=no", f"ConnectTimeout={seconds:.0f}"]
    options += ["ServerAliveInterval=5", "ServerAliveCountMax=2"]
    if address.key_file:
        options += [f"IdentityFile={_quoted(address.key_file)}", "IdentitiesOnly=yes", "IdentityAgent=none"]
    if address.known_hosts:
        options += [f"UserKnownHostsFile={_quoted(address.known_hosts)}", "GlobalKnownHostsFile=/dev/null"]
    if address.proxy:
        options.append(f"ProxyJump={address.proxy}")
    if not address.key_file:
        # What a configuration may add to every visit would stand in the way of a command of ours.
        # A shared connection of the user's is used; one that we made would outlive us, and hold our pipes.
        options += ["RemoteCommand=none", *([] if tty else ["RequestTTY=no", "ControlMaster=no"])]
    if not tty:
        options.append("BatchMode=yes")
    for option in options:
        argv += ["-o", option]
    if tty and command:
        argv.append("-t")
    argv += ["-p", str(address.port), "-l", address.user, "--", address.host]
    return [*argv, remote_line(command)] if command else argv


def config_block(address: Address, name: str) -> str:
    """The same as a block for `~/.ssh/config`: `ssh NAME`, scp, rsync and editors then find the machine."""
    if not address.key_file:
        return _block(name, _own_lines(address))
    lines = [f"HostName {address.host}", f"Port {address.port}", f"User {_word(address.user)}"]
    lines += [f"IdentityFile {_quoted(address.key_file)}", "IdentitiesOnly yes", "IdentityAgent none"]
    if address.known_hosts:
        lines += [f"UserKnownHostsFile {_quoted(address.known_hosts)}", "GlobalKnownHostsFile /dev/null"]
    if address.proxy:
        lines.append(f"ProxyJump {address.proxy}")
    return _block(name, lines)


def _own_lines(address: Address) -> list[str]:
    """What the user's configuration says of the host, under another name; what it says of every host stays there."""
    where = effective(address.host, user=address.user, port=address.port)
    lines = [f"HostName {where.host}", f"Port {where.port}", f"User {_word(where.user)}"]
    if where.alias:
        lines.append(f"HostKeyAlias {where.alias}")
    lines += [f"IdentityFile {_quoted(file)}" for file in where.identities if file.exists()]
    lines += ["IdentitiesOnly yes"] if where.identities_only else []
    if where.known_hosts:
        lines.append(f"UserKnownHostsFile {' '.join(_quoted(file) for file in where.known_hosts)}")
    if where.way:
        lines.append(f"ProxyCommand {shlex.join(where.way).replace('%', '%%')}")
    return lines


def _block(name: str, lines: Sequence[str]) -> str:
    lines = [*lines, "StrictHostKeyChecking yes", "UpdateHostKeys no"]
    # A pattern would make the block speak of other machines too.
    host = re.sub(r"[^A-Za-z0-9._-]", "-", name)
    return "\n    ".join([f"Host {host}", *lines])


def _quoted(path: Path) -> str:
    """A path as a value in ssh's options, where `%` begins a token and a space ends the value."""
    return _word(str(path).replace("%", "%%"))


def _word(text: str) -> str:
    """In quotes, with the escapes that ssh knows inside them (`argv_split` in OpenSSH's misc.c)."""
    if "\n" in text:
        raise UsageError("ssh's configuration cannot hold a line break", "Give the folder another name")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def remote_line(words: Sequence[str]) -> str:
    """One argument is a shell line as it is; several are an argv that arrives word for word."""
    if any("\0" in word for word in words):
        raise UsageError("a command cannot hold a NUL character")
    return words[0] if len(words) == 1 else shlex.join(words)
