"""What is to be said about a data set: a pure function of what it contains and of a look at each image."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainer.run_folder import TEST, TRAIN, VALID

from . import naming, twins
from .looking import Look
from .photos import Contents, Photo

IMBALANCE = 2.0
"""How many times more images than the smallest class the largest may have."""
ODD_SIZE = 4.0
"""How many times smaller or larger than the others an image may be, or longer than it is high."""


@dataclass(frozen=True)
class Finding:
    """`cases` are paths in the data set: one alone, or those that belong together; `notes` say more about each case."""

    kind: str
    what: str
    cases: list[tuple[str, ...]]
    notes: list[str]

    @classmethod
    def of(cls, kind: str, what: str, found: Iterable[tuple[tuple[str, ...], str]]) -> Finding:
        cases = list(found)
        return cls(kind, what, [case for case, _ in cases], [note for _, note in cases])


_Case = tuple[tuple[str, ...], str]


def findings(contents: Contents, looks: Sequence[Look]) -> list[Finding]:
    """Everything worth knowing, the gravest first; none for a sound data set."""
    photos = contents.photos
    every = [
        Finding.of("corrupt", "do not decode", _corrupt(photos, looks)),
        *_twins(photos, looks),
        Finding.of("classes", "classes are not the same in train/ and valid/", _classes(contents)),
        Finding.of("empty", "class folders are empty", _empty(contents)),
        Finding.of("ids", "test images would be one row of the submission", _ids(photos)),
        Finding.of("imbalance", "classes are much smaller than the largest", _imbalance(contents)),
        Finding.of("names", "have suspicious names", _names(contents, looks)),
        Finding.of("size", "have odd sizes", _sizes(photos, looks)),
        Finding.of("hidden", "are hidden: no classes, and never trained on", (((one,), "") for one in contents.hidden)),
        Finding.of("stray", "lie where no image is looked for", (((one,), "") for one in contents.strays)),
        Finding.of("links", "are links", (((one,), "") for one in contents.links)),
    ]
    return [finding for finding in every if finding.cases]


def _corrupt(photos: Sequence[Photo], looks: Sequence[Look]) -> Iterator[_Case]:
    for photo, look in zip(photos, looks, strict=True):
        if look.problem is not None:
            yield (photo.place,), look.problem


def _twins(photos: Sequence[Photo], looks: Sequence[Look]) -> Iterator[Finding]:
    sorts = {
        "leak": "pictures are in more than one of train/, valid/ and test/",
        "contradiction": "pictures are in two classes",
        "duplicate": "pictures are there more than once",
        "near leak": "pictures are in more than one of train/, valid/ and test/, saved anew",
        "near contradiction": "pictures are in two classes, saved anew",
        "near duplicate": "pictures are there more than once, saved anew",
    }
    sorted_out: dict[str, list[_Case]] = defaultdict(list)
    for group in twins.find(photos, looks):
        sort = "leak" if group.leak(photos) else "contradiction" if group.contradiction(photos) else "duplicate"
        note = "in two classes, too" if sort == "leak" and group.contradiction(photos) else ""
        case = tuple(photos[index].place for index in group.members)
        sorted_out[sort if group.exact else f"near {sort}"].append((case, note))
    yield from (Finding.of(sort, what, sorted_out[sort]) for sort, what in sorts.items())


def _classes(contents: Contents) -> Iterator[_Case]:
    train, valid = contents.classes[TRAIN], contents.classes[VALID]
    for label in sorted(set(train) ^ set(valid)):
        here, missing = (TRAIN, VALID) if label in train else (VALID, TRAIN)
        yield (f"{here}/{label}",), f"not in {missing}/"
    if len(train) < 2:
        yield (TRAIN,), f"{len(train)} class folders, and telling apart takes two"


def _empty(contents: Contents) -> Iterator[_Case]:
    for part, classes in contents.classes.items():
        yield from (((f"{part}/{label}",), "") for label, count in classes.items() if not count)


def _ids(photos: Sequence[Photo]) -> Iterator[_Case]:
    rows: dict[str, list[str]] = defaultdict(list)
    for photo in photos:
        if photo.part == TEST:
            rows[photo.path.stem].append(photo.place)
    yield from ((tuple(places), f"the id {stem}") for stem, places in rows.items() if len(places) > 1)


def _imbalance(contents: Contents) -> Iterator[_Case]:
    counts = {label: count for label, count in contents.classes[TRAIN].items() if count}
    most = max(counts.values(), default=0)
    for label, count in sorted(counts.items(), key=lambda pair: pair[1]):
        if most >= IMBALANCE * count:
            yield (f"{TRAIN}/{label}",), f"{count} images, and the largest class has {most}"


def _names(contents: Contents, looks: Sequence[Look]) -> Iterator[_Case]:
    labels = naming.telling({*contents.classes[TRAIN], *contents.classes[VALID]})
    for part, classes in contents.classes.items():
        yield from (((f"{part}/{label}",), why) for label in classes if (why := naming.odd(label)))
        for group in naming.merging(sorted(classes)):
            yield tuple(f"{part}/{label}" for label in group), "one name on a disk without capitals"
    folders: dict[str, list[str]] = defaultdict(list)
    for photo, look in zip(contents.photos, looks, strict=True):
        name = photo.path.name
        folders[photo.place.rpartition("/")[0]].append(name)
        other = naming.another_class(name, photo.label, labels) if photo.label else None
        if why := naming.odd(name) or naming.wrong_suffix(name, look.format) or other:
            yield (photo.place,), why
    for folder, names in folders.items():
        for group in naming.merging(names):
            yield tuple(f"{folder}/{name}" for name in group), "one name on a disk without capitals"


def _sizes(photos: Sequence[Photo], looks: Sequence[Look]) -> Iterator[_Case]:
    """Measured by the others: what is small among photographs is common among icons."""
    known = [(photo, look.size) for photo, look in zip(photos, looks, strict=True) if look.size and not look.problem]
    if not known:
        return
    usual = statistics.median(min(size) for _, size in known)
    for photo, (width, height) in known:
        short, long = sorted((width, height))
        if short * ODD_SIZE < usual or short > usual * ODD_SIZE or long > short * ODD_SIZE:
            yield (photo.place,), f"{width} x {height}; half of all are less than {usual:g} on their shorter side"
