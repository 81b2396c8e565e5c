"""`gpu data prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..data.split import LESSON, Amount, Shares
from ..verbs import data as verbs
from .counted import print_counts
from .options import Given, command


class AmountType(click.ParamType[Amount]):
    """So many images of each class: `1000` or `20%`."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Amount:
        if isinstance(value, Amount):
            return value
        try:
            return Amount.parse(str(value))
        except ValueError as error:
            return self.fail(f"{error}: give 1000 (so many of each class) or 20% (of each class).", param, ctx)


def register(data: click.Group) -> None:
    @command(data, "prepare")
    @click.argument("name", metavar="NAME")
    @click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="ARCHIVE|FOLDER...")
    @click.option(
        "--valid",
        type=AmountType(),
        default=LESSON,
        metavar="N|P%",
        help="Of each class for validation: 1000 or 20%.  [default: 20%, at most 1000]",
    )
    @click.option(
        "--holdout",
        type=AmountType(),
        metavar="N|P%",
        help="Of each class into a test/ whose labels are sealed away, before the rest is split.",
    )
    @click.option(
        "--sample",
        type=click.IntRange(min=1),
        default=Shares.sample_train,
        show_default=True,
        metavar="N",
        help="Of each class copied into sample/, and a quarter as many for its validation.",
    )
    @click.option("--seed", default=0, show_default=True, help="Another seed makes another split.")
    def prepare(
        given: Given,
        name: str,
        sources: tuple[Path, ...],
        valid: Amount,
        holdout: Amount | None,
        sample: int,
        seed: int,
    ) -> None:
        """Make data/NAME from archives or folders of images.

        Archives are zip, tar or tgz, and may hold others. An image's class is the folder that it is in (cat/1.jpg,
        dataset/train/cat/1.jpg), or in its name as in Kaggle's (train/cat.1.jpg); those under test/ have none. If they
        have, in class folders, these classes are sealed away as with --holdout.

        \b
        gpu data prepare dogscats train.zip test.zip
        gpu data prepare flowers flowers.tgz --valid 10%
        gpu data prepare mine ~/Pictures/cats ~/Pictures/dogs --holdout 50

        The same sources and options make the same data set. Nothing is taken away from the sources.
        """
        shares = Shares(valid=valid, sample_train=sample, sample_valid=max(1, sample // 4), holdout=holdout)
        print_counts(given, name, verbs.prepare(given.desk(), name, sources, seed=seed, shares=shares))
