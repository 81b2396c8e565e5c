"""The weights of a run that is home, used at home."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import run_folder

from ..errors import GpuError, UsageError, nearest

LAST = "last"
INSTALL = "Install gpu's [trainer] extra there: pip install 'gpu[trainer]'"
# Whatever lies in the current folder under the name of a module must not be imported in its place.
_START = "import sys; sys.path[0] = sys.argv.pop(1); from trainer.predict import main; sys.exit(main())"


@dataclass(frozen=True)
class Prediction:
    """Of one file: its classes with their probabilities, the most probable first; or why there are none."""

    file: str
    top: tuple[tuple[str, float], ...] = ()
    error: str = ""


def choose(folder: Path, name: str) -> Path:
    """The run in a `runs` folder: by its id, by the beginning of one id alone, or `last`: the newest with weights."""
    try:
        runs = sorted(run for run in folder.iterdir() if run_folder.is_run(run)) if folder.is_dir() else []
    except OSError as error:
        raise GpuError(f"{folder} cannot be read: {error.strerror}", "Check its mode and owner") from error
    usable = [run for run in runs if (run / run_folder.MODEL).is_file()]
    if name == LAST:
        if not usable:
            raise GpuError(f"no run in {folder} has weights", "Bring one home with: gpu pull")
        return usable[-1]
    found = [run for run in runs if run.name == name] or [run for run in runs if name and run.name.startswith(name)]
    if not found:
        hint = nearest(name, [run.name for run in runs]) or "See: gpu runs"
        raise UsageError(f"there is no run {name} in {folder}", hint)
    if len(found) > 1:
        raise UsageError(f"{len(found)} runs begin with {name}", f"Is it {' or '.join(run.name for run in found[:5])}?")
    if found[0] not in usable:
        remedy = f"Only a finished run that is home has them: gpu pull {found[0].name}"
        raise GpuError(f"{found[0].name} has no weights", remedy)
    return found[0]


def predict(run: Path, files: Sequence[Path], *, top: int = 1) -> list[Prediction]:
    """What is in each of `files`, and in every image of the folders among them.

    GpuError when nothing could be predicted at all; a file that cannot be read is among the predictions, with why.
    """
    if importlib.util.find_spec("torch") is None:
        raise GpuError(f"the Python at {sys.prefix} has no torch, and weights are used with it", INSTALL)
    package = Path(run_folder.__file__).parents[1]
    words = [str(run.absolute()), "--format", "json", "--top", str(top), "--", *map(str, files)]
    done = _run([sys.executable, "-c", _START, str(package), *words])
    try:
        return [_prediction(entry) for entry in json.loads(done.stdout)]
    except (ValueError, KeyError, TypeError) as error:
        raise _failed(done) from error


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            out, said = child.communicate()
        except KeyboardInterrupt:
            # `subprocess.run` would not wait until it is gone.
            child.kill()
            child.wait()
            raise
    return subprocess.CompletedProcess(argv, child.returncode, out, said)


def _prediction(entry: dict[str, Any]) -> Prediction:
    if "error" in entry:
        return Prediction(str(entry["file"]), error=str(entry["error"]))
    top = tuple((str(one["class"]), float(one["probability"])) for one in entry["top"])
    return Prediction(str(entry["file"]), top)


def _failed(done: subprocess.CompletedProcess[bytes]) -> GpuError:
    said = done.stderr.decode(errors="replace").strip().splitlines()
    last = said[-1].removeprefix("error: ") if said else f"it ended with {done.returncode} and said nothing"
    return (UsageError if done.returncode == 2 else GpuError)(f"nothing was predicted: {last.rstrip('.')}")
