"""Finding the data set that a notebook is to work on: on the machine, and at home."""

from __future__ import annotations

from pathlib import Path

from . import data, run_folder
from .errors import TrainerError

_FIRST = "dogscats"


def data_set(name: str = "") -> Path:
    """The folder `data/NAME` here, beside this folder (a notebook in `nbs/`), or in `~/gpu`; without a name, dogscats
    or the first there is. TrainerError says where it was looked for."""
    places = [Path("data"), Path("../data"), Path.home() / "gpu" / "data"]
    found = [each for place in places if place.is_dir() for each in sorted(data.visible(place)) if _is_one(each)]
    for each in found:
        if each.name == (name or _FIRST):
            return each
    if found and not name:
        return found[0]
    where = ", ".join(str(place) for place in places)
    if name:
        there = f"; there are {', '.join(dict.fromkeys(each.name for each in found))}" if found else ""
        raise TrainerError(
            f"there is no data set {name} in {where}{there}",
            f"Make it with gpu data prepare {name} ARCHIVE, or bring it here with gpu notebook --data {name}",
        )
    raise TrainerError(
        f"there is no data set in {where}",
        "Make one with gpu data prepare dogscats train.zip test.zip, and come back with gpu notebook --data dogscats",
    )


def _is_one(folder: Path) -> bool:
    return (folder / run_folder.TRAIN).is_dir()
