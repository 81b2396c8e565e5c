"""The names that the course of 2016 had for living with the machine, for today's shells."""

from importlib import resources


def script() -> str:
    """What bash or zsh is to read."""
    return resources.files(__name__).joinpath("aws-alias.sh").read_text("utf-8")
