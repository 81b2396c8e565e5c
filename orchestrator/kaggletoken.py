"""Where Kaggle's client finds a token, and that nobody else is shown it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

HOW = (
    "make a token at https://www.kaggle.com/settings/api and save it as ~/.kaggle/access_token, readable by you "
    "alone (chmod 600), or run: kaggle auth login"
)
_SECRETS = ("KAGGLE_API_TOKEN", "KAGGLE_KEY")
_FILES = ("access_token", "access_token.txt")
_TALKATIVE = ("VERBOSE", "VERBOSE_OUTPUT")
"""With one of these in the environment the client prints every request with its token."""


def is_there(environ: Mapping[str, str]) -> bool:
    """Whether the client would find any: in the environment, or in one of its files."""
    if environ.get("KAGGLE_API_TOKEN") or (environ.get("KAGGLE_USERNAME") and environ.get("KAGGLE_KEY")):
        return True
    home = Path(environ.get("HOME") or Path.home())
    files = [home / ".kaggle" / name for name in (*_FILES, "credentials.json")]
    files += [folder / "kaggle.json" for folder in _folders(environ, home)]
    return any(file.is_file() for file in files)


def _folders(environ: Mapping[str, str], home: Path) -> list[Path]:
    own = environ.get("KAGGLE_CONFIG_DIR")
    usual = [home / ".kaggle", Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"]
    return [Path(own)] if own else usual


def environment() -> dict[str, str]:
    """Of the client's process."""
    return {name: value for name, value in os.environ.items() if name not in _TALKATIVE}


def hidden(text: str) -> str:
    """What the client said, to be repeated: a service may repeat what it was sent."""
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


def _secrets() -> Iterator[str]:
    home = Path(os.environ.get("HOME") or Path.home())
    yield from filter(None, (os.environ.get(name) for name in _SECRETS))
    for file in (home / ".kaggle" / name for name in _FILES):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            yield from filter(None, file.read_text().split())
    for folder in _folders(os.environ, home):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            yield str(json.loads((folder / "kaggle.json").read_text())["key"])
