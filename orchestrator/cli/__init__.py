"""The command line: parse, call one verb, print. The only place that knows Click."""

from .main import main

__all__ = ["main"]
