"""The commands that change an account, each with what leads to it and what there is after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .census import MACHINE, SPOT
from .conftest import Person

Words = tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    name: str
    before: tuple[Words, ...]
    command: Words
    after: Mapping[str, int]
    phase: str = ""
    """Of the machine, afterwards."""
    kind: str = "t2"
    """Of the machine, afterwards."""

    def prepare(self, person: Person) -> None:
        for words in self.before:
            person.gpu(*words)

    def check(self, person: Person) -> None:
        """It is as if nothing had happened on the way."""
        census = person.census()
        assert census.ours == self.after, census.ours
        assert census.others == person.others
        if self.phase:
            status = person.json("status", "-k", self.kind)
            found = (status["phase"], status["kind"], status["trouble"])
            assert found == (self.phase, self.kind, None), status


INIT = Scene("init", (), ("init", "-k", "t2"), MACHINE, "stopped")
START = Scene("start", (), ("start", "-k", "t2"), MACHINE, "running")
START_STOPPED = Scene("start of a stopped one", (INIT.command,), START.command, MACHINE, "running")
START_SPOT = Scene("start at the spot price", (), (*START.command, "--spot"), SPOT, "running")
RESIZE = Scene("resize", (START.command,), ("resize", "p2", "-k", "t2"), MACHINE, "running", "p2")
RESIZE_STOPPED = Scene("resize of a stopped one", (INIT.command,), RESIZE.command, MACHINE, "stopped", "p2")
RESIZE_SPOT = Scene("resize of a spot machine", (START_SPOT.command,), RESIZE.command, SPOT, "running", "p2")
RESIZE_STOPPED_SPOT = Scene(
    "resize of a stopped spot machine",
    ((*INIT.command, "--spot"),),
    ("resize", "g4dn.xlarge", "-k", "t2"),
    SPOT,
    "stopped",
)
DESTROY = Scene("destroy", (START.command,), ("destroy",), {})
DESTROY_SPOT = Scene("destroy of a spot machine", (START_SPOT.command,), ("destroy",), {})

SCENES = (
    INIT,
    START,
    START_STOPPED,
    START_SPOT,
    RESIZE,
    RESIZE_STOPPED,
    RESIZE_SPOT,
    RESIZE_STOPPED_SPOT,
    DESTROY,
    DESTROY_SPOT,
)
