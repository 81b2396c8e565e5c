"""What the user's own SSH configuration says of a host, as the system's `ssh` itself reads it: `ssh -G HOST`."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import GpuError, ToolMissing

SECONDS = 15.0
"""`Match exec` runs programs of the user's."""
NOTHING = "none"
_MARKED = re.compile(r"(?:(@[\w-]+) )?\S+ (\S+ [A-Za-z0-9+/]+=*)")


@dataclass(frozen=True)
class Effective:
    """Where and how `ssh NAME` would go."""

    name: str
    """As the configuration calls it; `host` is what would be dialled."""
    host: str
    port: int
    user: str
    identities: tuple[Path, ...]
    """Private keys in the order of trying, whether they exist or not."""
    identities_only: bool
    agent: str | None
    """The agent's socket; None: no agent is asked."""
    alias: str | None
    """HostKeyAlias."""
    known_as: tuple[str, ...]
    """What known_hosts may call it: the first name with a key counts."""
    known_hosts: tuple[Path, ...]
    way: tuple[str, ...]
    """The argv of a program whose stdin and stdout lead there; empty: it is dialled."""


def effective(name: str, *, user: str | None = None, port: int | None = None) -> Effective:
    """`name` is an alias, a host or `user@host`. GpuError where the configuration cannot be used."""
    lines = _ask(name, user, port)
    said = dict(reversed(lines))
    tokens = _tokens(name, said)
    identities = [_expand(value, tokens) for key, value in lines if key == "identityfile" and value != NOTHING]
    host, there = said["hostname"], int(said["port"])
    plain = host.lower()
    alias = said.get("hostkeyalias")
    files = f"{said.get('userknownhostsfile', '')} {said.get('globalknownhostsfile', '')}".split()
    return Effective(
        name=said.get("host", name.rpartition("@")[2]),
        host=host,
        port=there,
        user=said["user"],
        identities=tuple(Path(path) for path in identities),
        identities_only=said.get("identitiesonly") == "yes",
        agent=_agent(said.get("identityagent"), tokens),
        alias=alias,
        # Like ssh itself: on another port than 22 a key of the bare host counts too.
        known_as=(alias,) if alias else (plain,) if there == 22 else (f"[{plain}]:{there}", plain),
        known_hosts=tuple(Path(_expand(file, tokens)) for file in files if file != NOTHING),
        way=_way(said, tokens),
    )


def _ask(name: str, user: str | None, port: int | None) -> list[tuple[str, str]]:
    words = ["ssh", "-G", "-T", *(["-l", user] if user else []), *(["-p", str(port)] if port else []), "--", name]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except FileNotFoundError as error:
        raise ToolMissing(
            "ssh", "on this computer", "Install OpenSSH's client: apt-get install openssh-client"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise GpuError(
            f"`ssh -G {name}` does not end, so where {name} is cannot be told", "A `Match exec` in ~/.ssh/config hangs"
        ) from error
    lines = [(key, value) for key, _, value in (line.partition(" ") for line in done.stdout.splitlines())]
    if done.returncode or not {"hostname", "port", "user"} <= {key for key, _ in lines}:
        words = done.stderr.strip().splitlines()[-2:] or ["it says nothing"]
        raise GpuError(f"your SSH configuration says nothing usable of {name}: {' | '.join(words)}", "Mend it first")
    return lines


def _tokens(name: str, said: Mapping[str, str]) -> dict[str, str]:
    """Those of ssh_config(5) that a key's path or a ProxyCommand may have."""
    account = pwd.getpwuid(os.getuid())
    return {
        "%": "%",
        "d": account.pw_dir,
        "h": said["hostname"],
        "i": str(os.getuid()),
        "k": said.get("hostkeyalias", said["hostname"]),
        "L": socket.gethostname().partition(".")[0],
        "l": socket.gethostname(),
        "n": said.get("host", name.rpartition("@")[2]),
        "p": said["port"],
        "r": said["user"],
        "u": account.pw_name,
    }


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    """A path with its tokens, its `${VARIABLES}` and its `~`, which is the account's home whatever $HOME says."""
    text = re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), text)
    text = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), text)
    return f"{tokens['d']}{text[1:]}" if text == "~" or text.startswith("~/") else text


def _agent(said: str | None, tokens: Mapping[str, str]) -> str | None:
    if said == NOTHING:
        return None
    if said is None or said == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK")
    return os.environ.get(said[1:]) if said.startswith("$") and "{" not in said else _expand(said, tokens)


def _way(said: Mapping[str, str], tokens: Mapping[str, str]) -> tuple[str, ...]:
    jump, command = said.get("proxyjump", NOTHING), said.get("proxycommand", NOTHING)
    if jump != NOTHING:
        return tuple(jump_argv(jump, f"[{said['hostname']}]:{said['port']}"))
    if command == NOTHING:
        return ()
    if said.get("proxyusefdpass") == "yes":
        raise GpuError(f"ProxyUseFdpass of {tokens['n']} cannot be followed", "Use a ProxyCommand without it")
    expanded = re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), command)
    return ("/bin/sh", "-c", f"exec {expanded}")


def jump_argv(jumps: str, target: str) -> list[str]:
    """The system's `ssh` through the hosts of a ProxyJump to `target` (`[host]:port`), each as strict as we are."""
    before, _, last = jumps.rpartition(",")
    argv = ["ssh"]
    strict = ("BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no")
    for option in (*strict, "ControlMaster=no", "ConnectTimeout=10"):
        argv += ["-o", option]
    if before:
        argv += ["-o", f"ProxyCommand={shlex.join(jump_argv(before, '[%h]:%p'))}"]
    # As an address, since a jump may name its port after a colon.
    return [*argv, "-W", target, "--", last if "://" in last else f"ssh://{last}"]


def known_keys(names: Sequence[str], files: Sequence[Path]) -> list[str]:
    """`TYPE BASE64` of each key that known_hosts files have for the first name that has any, without revoked ones.

    `ssh-keygen -F` looks: hashed names, patterns and markers are its trade.
    """
    for name in names:
        found = [entry for file in files if file.is_file() for entry in _look(name, file)]
        revoked = {key for marker, key in found if marker == "@revoked"}
        keys = [key for marker, key in found if not marker and key not in revoked]
        if found:
            return list(dict.fromkeys(keys))
    return []


def _look(name: str, file: Path) -> Iterator[tuple[str, str]]:
    words = ["ssh-keygen", "-F", name, "-f", str(file)]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise GpuError(
            "ssh-keygen does not run on this computer, so no host key can be checked", "Install OpenSSH's client"
        ) from error
    for line in done.stdout.splitlines():
        if match := _MARKED.match(line):
            yield match[1] or "", match[2]
