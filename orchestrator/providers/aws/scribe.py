"""Changes written down as commands of the `aws` tool instead of being made: what `--dry-run -v` shows."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from botocore import xform_name

from .api import MADE

VARIABLES: Mapping[str, str] = {
    "CreateVpc": "vpc",
    "CreateInternetGateway": "gateway",
    "CreateSubnet": "subnet",
    "CreateRouteTable": "table",
    "CreateSecurityGroup": "group",
    "AllocateAddress": "address",
    "RunInstances": "machine",
    "CreateImage": "image",
    "CopyImage": "copy",
}
"""The shell variable that keeps each id for the lines after it."""

USER_DATA = "user-data.yaml"
"""It has the host key in it and is not shown: a file stands for it."""

_MENTION = re.compile(r"\x01(\w+)\x01")


def mention(variable: str) -> str:
    """What stands for an id that is not known yet."""
    return f"\x01{variable}\x01"


class Scribe:
    """An `Api` that changes nothing; `lines` is a shell script by the end."""

    def __init__(self, region: str) -> None:
        self._region = region
        self.lines: list[str] = []

    def make(self, operation: str, **params: Any) -> str:
        variable = VARIABLES[operation]
        words = self._words(operation, params)
        self.lines.append(f"{variable}=$({words} --query {shlex.quote(MADE[operation])} --output text)")
        return mention(variable)

    def change(self, operation: str, **params: Any) -> None:
        self.lines.append(self._words(operation, params))

    def wait(self, condition: str, name: str, value: str) -> None:
        """`aws ec2 wait CONDITION`, for instance instance-running."""
        self.lines.append(f"aws ec2 wait {condition} --region {self._region} --{name} {quoted(value)}")

    def find_snapshot(self, image: str) -> str:
        """The command that asks for the snapshot under an image's root disk."""
        query = "Images[0].BlockDeviceMappings[0].Ebs.SnapshotId"
        asking = f"aws ec2 describe-images --region {self._region} --image-ids {quoted(image)}"
        self.lines.append(f"snapshot=$({asking} --query '{query}' --output text)")
        return mention("snapshot")

    def take(self) -> tuple[str, ...]:
        """The lines since the last time."""
        taken, self.lines = tuple(self.lines), []
        return taken

    def _words(self, operation: str, params: Mapping[str, Any]) -> str:
        # `aws` makes a token of its own for each call; the public key goes in by standard input, of which every
        # version of it reads the bytes as they are.
        options = {name: value for name, value in params.items() if name not in ("ClientToken", "PublicKeyMaterial")}
        line = " ".join(
            [
                f"aws ec2 {xform_name(operation, '-')} --region {self._region}",
                *filter(None, (_option(name, value) for name, value in options.items())),
            ]
        )
        if key := params.get("PublicKeyMaterial"):
            line += f" --public-key-material fileb:///dev/stdin <<<{shlex.quote(key.decode())}"
        return line


def _option(name: str, value: Any) -> str:
    flag = "--" + xform_name(name, "-")
    if name == "UserData":
        return f"{flag} file://{USER_DATA}"
    if name in _COUNTS:
        return f"{_COUNTS[name]} {value}" if _COUNTS[name] else ""
    if isinstance(value, bool):
        return flag if value else flag.replace("--", "--no-", 1)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join([flag, *(quoted(item) for item in value)])
    if isinstance(value, (list, dict)):
        return f"{flag} {quoted(json.dumps(value, separators=(',', ':')))}"
    return f"{flag} {quoted(str(value))}"


_COUNTS = {"MinCount": "--count", "MaxCount": ""}
"""`aws ec2 run-instances` has one option for the two."""


def quoted(text: str) -> str:
    """One shell word, with the mentions in it as variables that the shell fills in."""
    pieces = _MENTION.split(text.replace("\\u0001", "\x01"))
    words = [f'"${piece}"' if odd else shlex.quote(piece) for odd, piece in _alternating(pieces) if odd or piece]
    return "".join(words) or "''"


def _alternating(pieces: list[str]) -> list[tuple[bool, str]]:
    return [(bool(number % 2), piece) for number, piece in enumerate(pieces)]
