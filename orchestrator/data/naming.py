"""Names that will surprise somebody: a shell, another system, or the reader who trusts them."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

_LONG = 200
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".gif": "GIF", ".bmp": "BMP", ".webp": "WEBP"}
_FORMATS |= {".tif": "TIFF", ".tiff": "TIFF"}


def odd(name: str) -> str | None:
    """What is odd about the name of a file or a folder; None for a plain one."""
    if len(name.encode("utf-8", "surrogateescape")) > _LONG:
        return "its name is very long"
    if any("\udc80" <= letter <= "\udcff" for letter in name):
        return "its name is no UTF-8"
    if not name.isprintable():
        return "its name has control characters"
    if name.startswith("-"):
        return "its name looks like an option"
    if name != name.strip() or PurePosixPath(name).stem != PurePosixPath(name).stem.rstrip():
        return "its name begins or ends with a blank"
    return None


def wrong_suffix(name: str, kind: str) -> str | None:
    """Whether its suffix says another format than `kind`, which its content is."""
    said = _FORMATS.get(PurePosixPath(name).suffix.lower(), kind)
    # What some cameras write begins with a JPEG and has more behind it.
    return None if not kind or said == kind or {said, kind} == {"JPEG", "MPO"} else f"it is {kind} inside"


def another_class(name: str, label: str, classes: frozenset[str]) -> str | None:
    """Whether an image in the folder `label` is named after another of the `classes`, such as `cat/dog.7.jpg`; these in
    small letters, and none so short that any name may have it by chance."""
    words = set(re.split(r"[^a-z]+", PurePosixPath(name).stem.casefold()))
    others = words & classes
    return f"it is named after the class {min(others)}" if others and label.casefold() not in words else None


def telling(classes: Iterable[str]) -> frozenset[str]:
    """For `another_class`."""
    return frozenset(label.casefold() for label in classes if len(label) > 2)


def merging(names: Sequence[str]) -> list[list[str]]:
    """Names that are one on a disk that tells no capitals from others."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[unicodedata.normalize("NFC", name).casefold()].append(name)
    return [group for group in alike.values() if len(group) > 1]
