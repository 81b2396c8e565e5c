"""`python -m orchestrator`: the same as `gpu`."""

from .cli import main

main()
