"""Making a data set from archives or folders: unpack, check that every image decodes, split, put in place."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainer.run_folder import QUARANTINE, SAMPLE, TEST, TRAIN, VALID

from ..errors import GpuError, UsageError
from ..reporter import Reporter
from . import archives as reading
from . import decoding, holdout, staging
from .layout import Counts, DataSet, checked_name
from .placing import Place, beside, part_of, places, stem
from .split import LESSON, Shares, divided, sampled
from .unpacking import ARCHIVES, Image, Unpacked, unpack, visible_files


def prepare(
    name: str,
    archives: Sequence[Path],
    *,
    root: Path,
    seed: int = 0,
    shares: Shares | None = None,
    limits: reading.Limits | None = None,
    reporter: Reporter,
) -> Counts:
    """Make `root/name`; the same archives and seed give the same tree. GpuError leaves nothing half made."""
    data = DataSet(root, _name(name))
    shares = shares or Shares()
    with staging.disk_errors(root):
        recipe = {"sha256": _digests(archives), "seed": seed, "shares": shares.document()}
        if staging.already_made(root, name, recipe):
            reporter.line(f"{data.path} is ready: the same archives made it")
            return data.counts()
    with staging.building(root, name) as part:
        found = unpack(archives, part / ".incoming", limits, reporter)
        _leave_out(found, beside(found.images), reporter)
        bad = _undecodable(found.images, reporter)
        _put(part, places(found), bad, reporter)
        _keep_samples(part, found.samples)
        chosen = holdout.drawn(part, shares.holdout, seed) if shares.holdout else holdout.labelled(part)
        if chosen:
            holdout.seal(part, chosen, seed, root=root, name=name)
            reporter.line(
                f"the classes of {len(chosen)} images in test/ are sealed away; they open with: gpu score RUN"
            )
        if (part / VALID).is_dir() and shares.valid != LESSON:
            reporter.line("valid/ came with the archives and stays as it is")
        _divide(part, shares, seed)
        shutil.rmtree(part / ".incoming")
        staging.record(part, recipe)
    return data.counts()


def _name(word: str) -> str:
    """UsageError for a word that is plainly the first archive's: the data set's own was forgotten."""
    if word.lower().endswith(ARCHIVES):
        raise UsageError(
            f"{word!r} is an archive, and the first word is the data set's name",
            "Write: gpu data prepare NAME train.zip test.zip",
        )
    return checked_name(word)


def _digests(archives: Sequence[Path]) -> list[str]:
    """What the recipe says of the sources. UsageError for one that is given twice: its images would be on both sides
    of the split."""
    found: dict[str, Path] = {}
    digests = []
    for path in archives:
        content, whole = _digest(path, named=len(archives) > 1)
        if content in found:
            raise UsageError(f"{found[content]} and {path} hold the same", "Give each archive or folder once")
        found[content] = path
        digests.append(whole)
    return sorted(digests)


def _digest(path: Path, *, named: bool) -> tuple[str, str]:
    """Of the content alone, and of all that the images' places come from. `named`: of several sources the name may be
    that of a class."""
    if not path.exists():
        raise GpuError(f"there is no archive {path}", "Check its path")
    content, whole = hashlib.sha256(), hashlib.sha256()
    if named and not part_of(name := stem(str(path))):
        whole.update(os.fsencode(name) + b"\0")
    for data in _contents(path):
        content.update(data)
        whole.update(data)
    return content.hexdigest(), whole.hexdigest()


def _contents(path: Path) -> Iterator[bytes]:
    """The bytes of an archive; of a folder those of all its files, each after its name."""
    files = [file for file, is_folder in visible_files(path) if not is_folder] if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            yield os.fsencode(file.relative_to(path)) + b"\0"
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                yield chunk


def _leave_out(found: Unpacked, images: Sequence[Image], reporter: Reporter) -> None:
    if images:
        first, more = "/".join(images[0].parts), f" and {len(images) - 1} more" if len(images) > 1 else ""
        reporter.line(f"left out, since they lie beside train/, valid/ and test/: {first!r}{more}")
        gone = set(images)
        found.images = [image for image in found.images if image not in gone]
        found.others += [(image.source, image.parts) for image in images]


def _undecodable(images: Sequence[Image], reporter: Reporter) -> dict[Path, str]:
    bad: dict[Path, str] = {}
    with reporter.progress("decoding", len(images), "images") as bar, decoding.strictly():
        looks = decoding.at_once(decoding.problem, [image.file for image in images])
        for done, (image, why) in enumerate(zip(images, looks, strict=True), 1):
            bar.update(done)
            if why is not None:
                bad[image.file] = why
    return bad


def _put(part: Path, found: Mapping[Place, Image], bad: Mapping[Path, str], reporter: Reporter) -> None:
    _check_classes({place[1] for place in found if place[0] == TRAIN}, {p[1] for p in found if p[0] == VALID})
    for place, image in sorted(found.items()):
        where = "/".join(filter(None, place))
        # A competition asks for every row of its test, and the trainer answers those that it cannot see, too.
        aside = image.file in bad and place[:2] != (TEST, "")
        target = part.joinpath(*([QUARANTINE] if aside else []), *filter(None, place))
        if image.file in bad:
            kept = "set aside" if aside else "kept for its row in the submission"
            reporter.line(f"{kept}: {where!r} does not decode ({bad[image.file]})")
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            raise GpuError(f"this disk takes two images for one: {where!r}", "Rename one of them")
        image.file.rename(target)
    for label in sorted({place[1] for place in found if place[0] == TRAIN}):
        if not (part / TRAIN / label).is_dir():
            raise GpuError(f"no image of the class {label!r} decodes", "Get its images again")


def _keep_samples(part: Path, samples: Mapping[str, Path]) -> None:
    """The competition's sample of a submission is of its own test: for any other it would be wrong."""
    if (part / TEST).is_dir() and not holdout.labelled(part):
        for name, file in samples.items():
            file.rename(part / name)


def _check_classes(train: set[str], valid: set[str]) -> None:
    if not train:
        raise GpuError("the archives hold no images to train on", "They need train/cat.0.jpg or train/CLASS/0.jpg")
    if len(train) < 2:
        raise GpuError(f"there is only one class, {min(train)!r}", "Telling apart takes at least two")
    if strangers := sorted(valid - train):
        raise GpuError(
            f"valid/ has the class {strangers[0]!r}, and train/ has it not", "Name the folders of both alike"
        )


def _divide(part: Path, shares: Shares, seed: int) -> None:
    for label in _listed(part / TRAIN):
        names = _listed(part / TRAIN / label)
        # A validation part that came with the archives stays as it is.
        if not (part / VALID / label).is_dir():
            held = divided(names, shares, seed, label)[1]
            (part / VALID / label).mkdir(parents=True)
            for name in held:
                (part / TRAIN / label / name).rename(part / VALID / label / name)
    sample(part, shares, seed)


def sample(part: Path, shares: Shares, seed: int) -> None:
    """Copy a few images of every class into `sample/`."""
    for half, most in ((TRAIN, shares.sample_train), (VALID, shares.sample_valid)):
        for folder in sorted((part / half).iterdir()):
            target = part / SAMPLE / half / folder.name
            target.mkdir(parents=True)
            for name in sampled(_listed(folder), most, seed, folder.name):
                shutil.copyfile(folder / name, target / name)


def _listed(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir())
