"""How a program of this package ends: its exit code, and one sentence for what was to be expected."""

from __future__ import annotations

import sys
from collections.abc import Callable

from .errors import TrainerError


def ending(work: Callable[[], int], remedy: str) -> int:
    """What `work` returns; 1 or 2 after an expected failure, 130 after Ctrl-C. `remedy` is for a failing disk."""
    try:
        return work()
    except TrainerError as error:
        return _failed(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        return _failed(f"the Python at {sys.prefix} has no {error.name}. Install gpu's [trainer] extra there.")
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _failed(f"{error.strerror or error}{where}. {remedy}.")
    except (MemoryError, RuntimeError) as error:
        if "torch" not in sys.modules:
            raise
        from .forward import exhausted, sentence

        if not exhausted(error):
            raise
        more = "Take a smaller model or batch, unfreeze fewer layers, or take a machine with more memory"
        return _failed(f"memory does not suffice ({sentence(error)}). {more}.")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _failed(sentence: str, code: int = 1) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return code
