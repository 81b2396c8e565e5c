"""What a user of the trainer can meet: one sentence each, saying what failed, where, and what to do about it."""

from __future__ import annotations


class TrainerError(Exception):
    """An expected failure. `str(error)` is the whole message; the process ends with `exit_code`."""

    exit_code = 1

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}. {remedy}.")

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: in a notebook, too, it is one sentence."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(TrainerError):
    """Something was asked for that cannot be: a model that does not exist, an option out of range."""

    exit_code = 2
