"""One file over HTTP: whole, with the right sum, and under its name only then."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import TrainerError

_SILENCE = 30.0  # seconds without a byte
_CHOICES = "Try again, give a file at hand with --weights FILE, or take the default model, which needs no download"


@dataclass(frozen=True)
class Voice:
    """What is being fetched, and who is told of it."""

    subject: str
    say: Callable[[str], None]


def fetch(url: str, path: Path, sha256: str, voice: Voice) -> str:
    """Download `url` to `path` and return its whole SHA-256, which begins with `sha256`. TrainerError otherwise."""
    if not url.startswith(("http://", "https://")):
        raise TrainerError(f"{url} is no web address", "It begins with https:// or http://")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".download-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            digest = _received(url, file, voice)
            os.fsync(file.fileno())
        if not digest.startswith(sha256):
            raise TrainerError(f"{voice.subject} from {url} have the SHA-256 {digest}, expected was {sha256}", _CHOICES)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def _received(url: str, file: IO[bytes], voice: Voice) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_SILENCE) as answer:
            return _copy(answer, file, voice)
    except urllib.error.HTTPError as error:
        reason = f"the server answered {error.code} {error.reason}"
    except urllib.error.URLError as error:
        reason = str(error.reason)
    except http.client.HTTPException as error:
        reason = f"the transfer broke off ({type(error).__name__})"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise TrainerError(f"{voice.subject} cannot be had from {url}: {reason}", _CHOICES)


def _copy(answer: http.client.HTTPResponse, file: IO[bytes], voice: Voice) -> str:
    length = int(answer.headers.get("Content-Length") or 0)
    digest, done, told = hashlib.sha256(), 0, time.monotonic()
    while block := answer.read(1 << 20):
        file.write(block)
        digest.update(block)
        done += len(block)
        if time.monotonic() - told >= 1:
            told = time.monotonic()
            voice.say(f"{voice.subject}  {done / 1e6:.0f}/{length / 1e6:.0f} MB")
    if length and done < length:
        raise http.client.IncompleteRead(b"", length - done)
    file.flush()
    return digest.hexdigest()
