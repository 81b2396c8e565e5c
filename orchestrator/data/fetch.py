"""Making a known data set from its published archive."""

from __future__ import annotations

from pathlib import Path

from trainer.run_folder import TEST, TRAIN, VALID

from ..errors import GpuError
from ..reporter import Reporter
from . import catalog, cifar, download, staging
from .layout import Counts, DataSet
from .prepare import sample
from .split import Shares, shuffled


def fetch(
    name: str, *, root: Path, cache: Path, reporter: Reporter, seed: int = 0, known: catalog.Known | None = None
) -> Counts:
    """Make `root/name` from the first source that can be had; GpuError names every one that could not."""
    known = known or catalog.entry(name)
    data = DataSet(root, name)
    recipe = {"fetched": known.name, "seed": seed, "counts": [known.train, known.valid, known.test]}
    with staging.disk_errors(root):
        if staging.already_made(root, name, recipe):
            reporter.line(f"{data.path} is ready: it was fetched before")
            return data.counts()
    source, archive = _obtain(known, cache, reporter)
    with staging.building(root, name) as part:
        _write(part, known, cifar.pictures(archive, source.layout), seed)
        sample(part, Shares(), seed)
        staging.record(part, recipe)
    return data.counts()


def _obtain(known: catalog.Known, cache: Path, reporter: Reporter) -> tuple[catalog.Source, Path]:
    failures = []
    for source in known.sources:
        try:
            with staging.disk_errors(cache):
                return source, download.obtain(source, cache, reporter)
        except GpuError as error:
            failures.append(error.what)
            reporter.line(str(error))
    raise GpuError(f"{known.name} cannot be had: {'; '.join(failures)}", "Connect to the network, or install npm")


def _write(part: Path, known: catalog.Known, pictures: cifar.Pictures, seed: int) -> None:
    tests: list[tuple[str, int]] = []
    for label, number in known.classes.items():
        mine = {half: [str(i) for i, (n, _) in enumerate(of) if n == number] for half, of in pictures.items()}
        order = shuffled(mine["train"], seed, label)
        if len(order) < known.train + known.valid or len(mine["test"]) < known.test:
            raise GpuError(f"the archive of {known.name} has too few images of {label}", "Remove it from the cache")
        for at, index in enumerate(order[: known.train + known.valid]):
            folder = part / (TRAIN if at < known.train else VALID) / label
            folder.mkdir(parents=True, exist_ok=True)
            pictures["train"][int(index)][1].save(folder / f"{label}.{at}.png")
        tests += [(index, number) for index in shuffled(mine["test"], seed, label)[: known.test]]
    (part / TEST).mkdir()
    # The order must not tell the class.
    for at, index in enumerate(shuffled([index for index, _ in tests], seed, TEST), 1):
        pictures["test"][int(index)][1].save(part / TEST / f"{at}.png")
