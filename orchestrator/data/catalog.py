"""The data sets that are known by name, read from `datasets.yaml`; and Kaggle's competitions, each by its own."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import GpuError, UsageError, nearest
from .known import Known, Source

FILE = Path(__file__).parent.parent / "datasets.yaml"
KAGGLE = "kaggle:"
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{1,63}")
_COMPETITION = re.compile(r"https://www\.kaggle\.com/(?:c|competitions)/([^/?#]+).*")


def load(file: Path = FILE) -> dict[str, Known]:
    """Every known data set by its name; GpuError where the file is not what it should be."""
    # Not on every machine to which this module is sent: there the entry comes with the question.
    import yaml

    try:
        document = yaml.safe_load(file.read_text())
        return {str(name): Known.of({"name": str(name), **section}) for name, section in document.items()}
    except (OSError, yaml.YAMLError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise GpuError(f"{file} cannot be used: {str(error)[:200]}", "Install gpu again") from error


def known_names(file: Path = FILE) -> list[str]:
    return sorted(load(file))


def entry(name: str, file: Path = FILE) -> Known:
    """The data set of a name, or of `kaggle:COMPETITION`. UsageError for one that is not known, with the nearest."""
    if name.startswith(KAGGLE):
        return competition(name.removeprefix(KAGGLE))
    known = load(file)
    if name not in known:
        choices = f"Known are: {', '.join(sorted(known))}, and any competition as kaggle:NAME"
        raise UsageError(f"there is no known data set {name}", f"{nearest(name, known)} {choices}".strip())
    return known[name]


def competition(name: str) -> Known:
    """Any competition of images on Kaggle; its address in the browser does as well."""
    slug = checked_competition(name)
    rules = f"the competition's rules, to be accepted at https://www.kaggle.com/c/{slug}/rules"
    return Known(slug, f"Kaggle's competition {slug}", rules, (Source("kaggle", kaggle=slug),))


def checked_competition(name: str) -> str:
    """The competition's name in its address; UsageError for what can be none."""
    found = _COMPETITION.fullmatch(name)
    slug = found[1] if found else name
    if not _SLUG.fullmatch(slug):
        raise UsageError(f"{name!r} cannot be the name of a competition", "Take it from its address on kaggle.com/c/")
    return slug
