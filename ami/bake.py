"""How an image is baked, as data: what is done in which order, what is looked at, and what must not get into it.

Imports nothing of ours; `gpu ami bake` performs it.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml

from . import provisioning

LEAST_MEMORY_GB = 4
"""Of a builder: pip unpacks torch, and torch trains, in less memory only at the cost of being killed."""


@dataclass(frozen=True)
class Step:
    """One thing that is done on the builder, by its name, and what it is in the plan that is shown."""

    name: str
    sentence: str


STEPS = (
    Step("provision", "make it ready for training: driver, environment, programs (provision.sh, over SSH)"),
    Step("reboot", "boot it again, and wait until SSH answers"),
    Step("verify", "look at the versions, and train a few batches of generated images"),
    Step("clean", "remove from it what must not get into an image"),
)
"""After the builder has been made, and before it is stopped and its disk imaged."""


@dataclass(frozen=True)
class Trace:
    """Files that are of one machine or of one person. Shell patterns: `~/` is the login's home folder, and what begins
    with `/` is under `$GPU_ROOT`, which is empty on a real machine."""

    paths: tuple[str, ...]
    """One that ends with `/**` means the files, and leaves the folders."""
    why: str
    comes_back: bool = False
    """Whatever still runs may write it again before the machine stops."""


TRACES = (
    Trace(
        ("/etc/ssh/ssh_host_*",),
        "host keys: two machines with one key cannot be told apart, and whoever has the image has the key",
    ),
    Trace(
        ("~/.ssh", "/root/.ssh", "/etc/ssh/authorized_keys"),
        "who may enter: each machine is told at its first boot",
    ),
    Trace(
        ("/var/lib/cloud/*", "/run/cloud-init", "/etc/ssh/sshd_config.d/10-gpu.conf"),
        "what cloud-init has done and was told, the first host key among it: without it the next boot is a first one",
    ),
    Trace(
        ("~/gpu/runs", "~/gpu/data", "~/gpu/cache", "~/gpu/code", "~/gpu/nbs", "~/gpu/lock", "~/gpu/bake"),
        "runs, data and features, and the code that was sent for them",
    ),
    Trace(
        ("~/gpu/provision", "~/gpu/selfstop", "/etc/gpu/selfstop.conf"),
        "how this machine was made, and when it was to stop: the next one is told anew",
    ),
    Trace(
        (
            "~/.*_history",
            "~/.lesshst",
            "~/.viminfo",
            "~/.wget-hsts",
            "/root/.*_history",
            "~/.ipython",
            "~/.local/share/jupyter",
        ),
        "what somebody typed",
    ),
    Trace(
        (
            *(
                "~/.aws",
                "~/.kaggle",
                "~/.config/kaggle",
                "~/.netrc",
                "~/.git-credentials",
                "~/.gitconfig",
                "~/.config/gh",
            ),
            *("~/.docker", "~/.jupyter", "~/.cache/huggingface/token", "~/.huggingface", "~/.pypirc", "/root/.aws"),
        ),
        "tokens and passwords",
    ),
    Trace(
        ("/var/log/**", "/var/crash/**", "/var/mail/**", "/var/spool/mail/**"),
        "logs: addresses, names, and the user data among them",
        comes_back=True,
    ),
    Trace(
        (
            "/var/lib/systemd/random-seed",
            "/var/lib/dbus/machine-id",
            "/var/lib/dhcp/*",
            "/var/lib/systemd/credential.secret",
        ),
        "what makes two machines of one image look like one, or random the same",
    ),
    Trace(
        (
            "/tmp/*",
            "/var/tmp/*",
            "~/.cache/pip",
            "~/.cache/uv",
            "/var/cache/apt/archives/*.deb",
            "/var/lib/apt/lists/**",
        ),
        "what was needed on the way, and would only be paid for",
        comes_back=True,
    ),
)
"""What never gets into an image, and why. `/etc/machine-id` is emptied too: systemd then makes a new one,
https://www.freedesktop.org/software/systemd/man/latest/machine-id.html#Initialization ."""


def clean_script() -> str:
    """For `bash -s`: removes every trace, and ends with code 1 and the names of those that are still there."""
    lasting = [path for trace in TRACES if not trace.comes_back for path in trace.paths]
    every = [path for trace in TRACES for path in trace.paths]
    # Quoted whole: nothing in a pattern is read before root reads it.
    return _CLEAN.replace("@EVERY@", shlex.join(every)).replace("@LASTING@", shlex.join(lasting))


# Not every folder can be read by whoever logs in: patterns are expanded by root.
_CLEAN = r"""set -u
root=${GPU_ROOT-} sudo=()
[[ -n $root || $EUID == 0 ]] || sudo=(sudo -n)
"${sudo[@]}" true || exit 64
work() {
  "${sudo[@]}" bash -s -- "$root" "$HOME" "$@" <<'END'
shopt -s nullglob dotglob globstar
root=$1 home=$2 verb=$3 left=0
shift 3
# No word is split: names have blanks, patterns have none.
IFS=
for pattern; do
  case $pattern in '~/'*) base=$home/ ;; *) base=$root/ ;; esac
  cd -- "$base" || exit 65
  for found in ${pattern#*/}; do
    [[ $pattern == */'**' && -d $found && ! -L $found ]] && continue
    [[ -e $found || -L $found ]] || continue
    if [[ $verb == remove ]]; then rm -rf --one-file-system -- "./$found"; else echo "$base$found"; left=1; fi
  done
done
id=$root/etc/machine-id
if [[ $verb == remove && -e $id ]]; then : >"$id"; fi
if [[ $verb == look && -s $id ]]; then echo "$id"; left=1; fi
exit $left
END
}
# The timer writes notes every minute: from here on the machine is switched off by the clock alone, whoever forgets it.
"${sudo[@]}" shutdown -h +30 >/dev/null 2>&1
"${sudo[@]}" systemctl stop gpu-selfstop.timer >/dev/null 2>&1
work remove @EVERY@ || exit
work look @LASTING@ || exit
sync
"""

BOOT_ID = 'if [ -n "${GPU_ROOT-}" ]; then cat "$GPU_ROOT/run/boot"; else cat /proc/sys/kernel/random/boot_id; fi'
"""The shell line that prints another text after each boot."""

IMAGES = 24
"""Of each class, generated: three batches of eight of both."""

PREPARE = f"""
import json, os, pathlib, platform, random, shutil, torch, torchvision, numpy
from PIL import Image
home = pathlib.Path.home() / "gpu" / "bake"
shutil.rmtree(home, ignore_errors=True)
draw = random.Random(7)
for part in ("train", "valid"):
    for number, name in enumerate(("bright", "dark")):
        folder = home / "data" / part / name
        folder.mkdir(parents=True)
        for i in range({IMAGES} if part == "train" else 8):
            shade = draw.randrange(150, 250) if number == 0 else draw.randrange(0, 100)
            noise = [min(255, max(0, shade + draw.randrange(-40, 40))) for _ in range(32 * 32 * 3)]
            Image.frombytes("RGB", (32, 32), bytes(noise)).resize((96, 96)).save(folder / f"{{i}}.png")
link = pathlib.Path.home() / "gpu" / "env"
print(json.dumps({{
    "python": platform.python_version(),
    "torch": torch.__version__.partition("+")[0],
    "torchvision": torchvision.__version__.partition("+")[0],
    "numpy": numpy.__version__,
    "own": link.is_symlink() and "/gpu/envs/" not in os.readlink(link),
}}))
"""
"""For the machine's own Python on its standard input: makes the images, and prints the versions as JSON."""

TRAIN = ("--data", "~/gpu/bake/data", "--out", "~/gpu/bake/out", "--cache", "~/gpu/bake/cache")
TRAIN_MORE = ("--epochs", "2", "--batch-size", "8")
RESULT = "gpu/bake/out/result.json"
LEAST_ACCURACY = 0.75
"""Bright from dark is told by any network that learns at all; half of them are right by chance."""


def recipe() -> str:
    """A digest of the files that make a machine ready."""
    whole = hashlib.sha256()
    for name, content in sorted(provisioning().items()):
        whole.update(f"{name} {len(content)}\n".encode() + content)
    return whole.hexdigest()[:16]


def environment_for(capability: str | None) -> str:
    """The build that a GPU of the capability (`sm_75`; None: no GPU) gets; of one that is not in the table, as
    `provision.sh` takes it, that of the highest step of its generation below it, or of the newest."""
    table: Mapping[str, Mapping[str, Any]] = _environments()["capabilities"]
    if capability is None:
        return str(table["cpu"]["build"])
    steps = [name for name in table if name.startswith("sm_")]
    same = [name for name in steps if name[:-1] == capability[:-1] and name[-1] <= capability[-1]]
    return str(table[same[-1] if same else steps[-1]]["build"])


def environment_of(torch: str) -> str | None:
    """The build that has this version of torch; None for one that is none of ours."""
    builds: Mapping[str, Mapping[str, Any]] = _environments()["builds"]
    return next((name for name, build in builds.items() if str(build["torch"]) == torch), None)


@lru_cache(maxsize=1)
def _environments() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("environments.yaml").read_text("utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document
