"""Carries out what bakes and copies images, besides what the executor does for machines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import singledispatchmethod
from typing import Any

from . import own
from .baking import AwaitCopy, BakeImage, CopyImage, EndBuilder, EndNetwork, OverSsh, origin
from .changes import Changes
from .executor import Executor, Local, Made
from .steps import Terminate
from .waiting import Waiting


@dataclass(frozen=True)
class Elsewhere:
    """The region that an image is copied to."""

    changes: Changes
    waiting: Waiting


class Bakery(Executor):
    def __init__(
        self, changes: Changes, waiting: Waiting, local: Local, made: Made, elsewhere: Elsewhere | None = None
    ) -> None:
        super().__init__(changes, waiting, local, made)
        self._elsewhere = elsewhere

    @singledispatchmethod
    def do(self, step: Any) -> None:
        super().do(step)

    @do.register(OverSsh)
    @do.register(EndNetwork)
    def _(self, _: Any) -> None:
        """Done between two plans, not by one."""

    @do.register
    def _(self, step: BakeImage) -> None:
        labels = {**step.labels, "builder": self._made.machine}
        self._made.image = self._changes.bake_image(self._made.machine, name=step.name, labels=labels)

    @do.register
    def _(self, _: EndBuilder) -> None:
        self.do(Terminate((self._made.machine,)))

    @do.register
    def _(self, step: CopyImage) -> None:
        assert self._elsewhere is not None
        image, changes = step.image, self._elsewhere.changes
        labels = {name: str(getattr(image, name)) for name in own.LABELS} | {"copied_from": origin(image)}
        purpose = f"copy to {step.region}"
        token = self._local.tokens.of(purpose, json.dumps([image.id, image.region, step.region, labels]))
        self._made.image = changes.copy_image(
            image.id, source=image.region, name=image.name, labels=labels, token=token
        )

    @do.register
    def _(self, step: AwaitCopy) -> None:
        assert self._elsewhere is not None
        self._made.image = step.image or self._made.image
        self._made.snapshots = self._elsewhere.waiting.image(self._made.image)
        # It has done its work: the same request, made after the copy has gone, is another one.
        self._local.tokens.forget(f"copy to {step.region}")
