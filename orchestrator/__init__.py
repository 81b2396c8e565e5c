"""The laptop's side of gpu: makes the machine, talks to it, and never imports torch."""

__version__ = "0.1.0"
