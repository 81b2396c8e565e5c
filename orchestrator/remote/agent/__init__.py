"""The machine's side of runs: start them, hold their locks, tell their state, follow their log, end them.

Standard library only, Python 3.8 or newer. It is sent beside the `trainer` package into `~/gpu/code/HASH/` and run
from there as `python -m agent VERB ...`. Answers are one JSON document on stdout.
"""
