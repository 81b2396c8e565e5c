"""Sent to the machine by `gpu doctor` and run there by its own python3: prints one JSON document of what there is.

Standard library only, and nothing newer than Python 3.7. Changes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

NVIDIA = "0x10de"
DISPLAY = "0x03"
"""A PCI class that begins so draws or computes; NVIDIA makes other things too."""
PCI = Path("/sys/bus/pci/devices")
TORCH_SECONDS = 120
"""Importing torch from a disk that has just been made takes minutes on EC2."""
TORCH = """
import json, torch
cuda = torch.cuda.is_available()
# get_arch_list() is empty where no GPU can be used, which is when one would like to know.
flags = getattr(torch._C, "_cuda_getArchFlags", str)()
print(json.dumps({
    "version": torch.__version__,
    "built_for": torch.version.cuda,
    "architectures": (flags or "").split(),
    "cuda": cuda,
    "capability": "sm_{}{}".format(*torch.cuda.get_device_capability(0)) if cuda else None,
}))
"""


def main() -> None:
    home = Path.home()
    python = home / "gpu/env/bin/python"
    disk = shutil.disk_usage(home)
    cards = gpus(PCI)
    document = {
        "free": disk.free,
        "total": disk.total,
        "tmux": first_line("tmux", "-V"),
        "rsync": first_line("rsync", "--version"),
        "gpus": cards,
        "smi": smi(),
        "python": first_line(str(python), "--version"),
        "torch": torch(python) if cards or sys.argv[1:] != ["only-with-gpu"] else None,
    }
    sys.stdout.write(json.dumps(document) + "\n")


def said(*words: str, seconds: float = 20) -> tuple[int, str]:
    """Exit code and output of a program; 127 where there is none, 124 where it does not end."""
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {seconds:.0f} seconds"
    except OSError as error:
        return 127, str(error.strerror)
    return done.returncode, done.stdout.decode(errors="replace").strip()


def first_line(*words: str) -> str | None:
    code, text = said(*words)
    return text.splitlines()[0][:200] if code == 0 and text else None


def gpus(folder: Path) -> int:
    """NVIDIA's GPUs on the PCI bus: what the machine has, whatever is installed."""
    found = 0
    for device in folder.iterdir() if folder.is_dir() else []:
        try:
            vendor, sort = (device / "vendor").read_text().strip(), (device / "class").read_text()
        except OSError:
            continue
        found += vendor == NVIDIA and sort.startswith(DISPLAY)
    return found


def smi() -> dict[str, str | None] | None:
    """What the driver says; None where it is not there or does not answer."""
    query, form = "--query-gpu=driver_version,name", "--format=csv,noheader"
    code, text = said("nvidia-smi", query + ",compute_cap", form)
    if code:
        # The drivers of the oldest GPUs do not know the last one.
        code, text = said("nvidia-smi", query, form)
    if code or not text:
        return None
    driver, name, capability = ([word.strip() for word in text.splitlines()[0].split(",")] + ["", ""])[:3]
    return {"driver": driver, "name": name, "capability": "sm_" + capability.replace(".", "") if capability else None}


def torch(python: Path) -> dict[str, object] | None:
    """What torch says of itself, or `error` with its last words; None where there is no such Python."""
    if not os.access(python, os.X_OK):
        return None
    code, text = said(str(python), "-c", TORCH, seconds=TORCH_SECONDS)
    last = text.splitlines()[-1] if text else f"exit code {code}"
    if code:
        return {"error": last[:300]}
    facts: dict[str, object] = json.loads(last)
    return facts


if __name__ == "__main__":
    main()
