"""One file over HTTP: gone on with where it was cut, never more than was announced, never mixed from two versions."""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import GpuError
from ..reporter import Reporter

SILENCE_SECONDS = 10.0
"""Without a byte; a network that is not there is noticed in this time, and a server that sleeps is asked again."""
FRUITLESS = 4
"""So many attempts, one after the other, that brought no byte are the last."""
PAUSE_SECONDS = 1.0
"""Before asking again; longer each time that brings nothing."""
MARGIN_BYTES = 64 << 20
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class _Mark:
    """Beside a part: of which version of the file it is. `validator`: its ETag or the date of its last change."""

    url: str
    validator: str | None
    total: int | None

    @classmethod
    def read(cls, file: Path) -> _Mark | None:
        try:
            return cls(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):
            return None


class _OnlySafely(urllib.request.HTTPRedirectHandler):
    """Redirected to https only; where the server is this very computer, to itself too."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        within = _is_loopback(req.full_url) and _is_loopback(newurl)
        if urlsplit(newurl).scheme != "https" and not within:
            raise GpuError(f"{req.full_url} leads to {newurl}, which is not https", "It was not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_loopback(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Changed(http.client.HTTPException):
    """What is at the address now is not what the beginning is of."""


def download(url: str, part: Path, *, size: int | None, reporter: Reporter) -> bool:
    """Bring the file into `part`, of which a beginning may be there; whether one was gone on with that nothing but
    the caller's hash shows to be of the same version. `size`: the bytes that it must have, where they are known.

    GpuError says why it cannot be had. What has arrived by then is kept, for the next call.
    """
    if _is_whole(part, url):
        return True
    fruitless, unsure = 0, False
    while True:
        attempt = _Attempt(url, part, size)
        try:
            attempt.run(reporter)
            return unsure or attempt.unsure
        except urllib.error.HTTPError as error:
            reason: object = f"{error.code} {error.reason}"
            if error.code == 416 and attempt.had:
                forget(part)
            elif error.code not in _BUSY:
                forget(part)
                raise GpuError(f"{url} answers {reason}", "Look whether it has moved") from error
        except _Changed as error:
            forget(part)
            reason = error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        unsure = unsure or attempt.unsure
        fruitless = 0 if _size(part) > attempt.had else fruitless + 1
        if fruitless == FRUITLESS or not (attempt.had or _size(part)):
            kept = "; what has arrived is kept: run it again" if _size(part) else ""
            raise GpuError(f"{url} cannot be reached ({reason})", f"Check the network{kept}")
        reporter.line(f"{url} was cut off ({reason}); going on")
        time.sleep(PAUSE_SECONDS * fruitless)


def _is_whole(part: Path, url: str) -> bool:
    """Whoever brought it was ended just before it was checked."""
    mark = _Mark.read(_mark(part))
    return mark is not None and mark.url == url and mark.total is not None and mark.total == _size(part)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _mark(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def forget(part: Path) -> None:
    """Remove it and what is known of it."""
    part.unlink(missing_ok=True)
    _mark(part).unlink(missing_ok=True)


class _Attempt:
    """One request to its end. `had`: the bytes that it goes on from."""

    def __init__(self, url: str, part: Path, size: int | None) -> None:
        self._url, self._part, self._size = url, part, size
        self._mark = _Mark.read(_mark(part))
        self.unsure = False
        usable = self._mark is not None and self._mark.url == url and (size is None or _size(part) < size)
        self.had = _size(part) if usable else 0

    def run(self, reporter: Reporter) -> None:
        opener = urllib.request.build_opener(_OnlySafely)
        with opener.open(self._request(), timeout=SILENCE_SECONDS) as answer:
            start, total = self._placed(answer)
            most = self._room(total, start)
            if not start:
                # Before the mark: the old bytes must never lie beside the new version's.
                self._part.write_bytes(b"")
            mark = _Mark(self._url, _validator(answer), total)
            self.unsure = bool(start) and mark.validator is None
            _mark(self._part).write_text(json.dumps(asdict(mark)))
            with reporter.progress("downloading", total, "B") as bar, self._part.open("ab" if start else "wb") as out:
                done = start
                while chunk := answer.read1(1 << 16):
                    done += len(chunk)
                    if done > most:
                        raise GpuError(f"{self._url} sends more than the {most} bytes that were expected", "Stopped")
                    out.write(chunk)
                    bar.update(done, total)
        if total is not None and done < total:
            raise http.client.HTTPException(f"{(total - done) / 1e6:.1f} MB are missing")

    def _request(self) -> urllib.request.Request:
        headers = {"User-Agent": "gpu"}
        if self.had:
            headers["Range"] = f"bytes={self.had}-"
            if self._mark and self._mark.validator:
                headers["If-Range"] = self._mark.validator
        return urllib.request.Request(self._url, headers=headers)

    def _placed(self, answer: http.client.HTTPResponse) -> tuple[int, int | None]:
        """Where what comes begins, and how long the whole is; a server that knows no ranges sends it anew."""
        if answer.status != 206:
            return 0, self._size if answer.length is None else answer.length
        told = _RANGE.fullmatch(answer.headers.get("Content-Range") or "")
        if told is None or self._mark is None or int(told[1]) != self.had or told[2] == "*":
            raise _Changed("it sends another part than was asked for")
        same = _validator(answer) in (None, self._mark.validator) and self._mark.total in (None, int(told[2]))
        if not same:
            raise _Changed("it has changed")
        return self.had, int(told[2])

    def _room(self, total: int | None, start: int) -> int:
        """The most bytes that the file may have: all of it, or what the disk has room for."""
        if self._size is not None and total != self._size:
            raise GpuError(f"{self._url} has {total} bytes, and {self._size} are published", "It was not downloaded")
        free = shutil.disk_usage(self._part.parent).free - MARGIN_BYTES
        if total is not None and total - start > free:
            needed = f"{(total - start) / 1e6:.0f} MB are to be downloaded"
            raise GpuError(f"{needed}, and {self._part.parent} has room for {free / 1e6:.0f} MB", "Make room there")
        return start + free if total is None else total


def _validator(answer: http.client.HTTPResponse) -> str | None:
    """A weak ETag promises too little to go on with (RFC 9110, 13.1.5)."""
    etag = answer.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
