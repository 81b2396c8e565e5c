"""The report of a run: one HTML file that needs nothing beside it, and its two plots as PNG."""

from .facts import Answered, Facts
from .page import page
from .pictures import plots

__all__ = ["Answered", "Facts", "page", "plots"]
