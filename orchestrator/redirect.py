"""A page of this user's alone that leads a browser to an address with a secret in it.

A browser's command line can be read by everyone, and so it names the page. (Jupyter does the same: `use_redirect_file`.
An address that works once would be worth as much to whoever reads the command line first.)
"""

from __future__ import annotations

import html
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}">
<title>gpu notebook</title>
<p>To the notebook: <a href="{url}">this way</a>.</p>
"""


def has_browser(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a browser would open a window. One that lives in the terminal would take that away."""
    if sys.platform == "darwin":
        return True
    return any(environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


@contextmanager
def page(url: str) -> Iterator[Path]:
    """The file, in a folder that nobody else may enter, for as long as it is of use."""
    with tempfile.TemporaryDirectory(prefix="gpu-browser-") as folder:
        file = Path(folder) / "notebook.html"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(_PAGE.format(url=html.escape(url)))
        yield file


def show(file: Path) -> None:
    """In a thread: a browser that was not open yet may be this very process's child until it is closed."""
    threading.Thread(target=webbrowser.open, args=(file.as_uri(),), daemon=True).start()
