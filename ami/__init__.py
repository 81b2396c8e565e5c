"""What makes a machine ready: scripts for it, as data."""

from importlib import resources


def selfstop() -> str:
    """The script that stops a machine which nobody needs."""
    return resources.files(__name__).joinpath("selfstop.sh").read_text("utf-8")


def provisioning() -> dict[str, bytes]:
    """Name and content of the files that make a machine ready: `provision.sh`, and what has to lie beside it."""
    folder = resources.files(__name__)
    return {
        name: folder.joinpath(name).read_bytes()
        for name in ("provision.sh", "environments.yaml", "examine.py", "selfstop.sh")
    }
