"""What a public score is worth: the place that it has on a leaderboard, and how the lecture reads such a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_TEN = 10


@dataclass(frozen=True)
class Standing:
    """A place among so many teams; the first has place 1."""

    place: int
    teams: int

    @property
    def reading(self) -> str:
        """The lecture's: half is good for a first try, a fifth is strong, a tenth expert, the first ten world class."""
        share = self.place / self.teams
        if self.place <= FIRST_TEN and share <= 0.1:
            return "among the first ten: world class"
        if share <= 0.1:
            return "in the top 10 %: at the level of an expert"
        if share <= 0.2:
            return "in the top 20 %: strong"
        if share <= 0.5:
            return "in the top half: good for a first try"
        return "in the lower half: there is something to be found yet"


def standing(board: Sequence[float], score: float) -> Standing | None:
    """Where `score` stands on a board of the teams' scores, the best first; None where that cannot be told.

    Competitions differ in whether more is better: the board shows it. A competition that is over takes submissions
    and lists them no more, so the place is counted, and not looked up: one more than the teams that are better.
    """
    if not board or (board[0] == board[-1] != score):
        return None
    falling = board[0] > board[-1]
    better = sum(1 for other in board if (other > score if falling else other < score))
    return Standing(min(better + 1, len(board)), len(board))
