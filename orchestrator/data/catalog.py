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


def load() -> dict[str, Known]:
    """Every known data set by its name: ours, and those of the person's own `datasets.yaml` beside the configuration.

    GpuError where a file is not what it should be.
    """
    # Not on every machine to which this module is sent: there the entry comes with the question.
    from ..settings import Home

    own = Home.from_environment().config / FILE.name
    return _read(FILE, "Install gpu again") | (_read(own, "Mend it, or remove it") if own.exists() else {})


def _read(file: Path, remedy: str) -> dict[str, Known]:
    import yaml

    try:
        document = yaml.safe_load(file.read_text()) or {}
        return {str(name): Known.of({"name": str(name), **section}) for name, section in document.items()}
    except (OSError, yaml.YAMLError, AttributeError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise GpuError(f"{file} cannot be used: {' '.join(str(error).split())[:200]}", remedy) from error


def known_names() -> list[str]:
    return sorted(load())


def entry(name: str) -> Known:
    """The data set of a name, or of `kaggle:COMPETITION`. UsageError for one that is not known, with the nearest."""
    if name.startswith(KAGGLE):
        return competition(name.removeprefix(KAGGLE))
    known = load()
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
