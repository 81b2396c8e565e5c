"""Where our own files are, and what a profile says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from .errors import GpuError, UsageError, nearest


@dataclass(frozen=True)
class Home:
    """Our folders: all under `$GPU_HOME` when it is set, otherwise in the XDG folders."""

    config: Path
    state: Path
    cache: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Home:
        if root := environ.get("GPU_HOME"):
            base = Path(root).expanduser().absolute()
            return cls(config=base, state=base / "state", cache=base / "cache")
        user = Path(environ.get("HOME") or Path.home())
        return cls(
            config=Path(environ.get("XDG_CONFIG_HOME") or user / ".config") / "gpu",
            state=Path(environ.get("XDG_STATE_HOME") or user / ".local/state") / "gpu",
            cache=Path(environ.get("XDG_CACHE_HOME") or user / ".cache") / "gpu",
        )

    @property
    def config_file(self) -> Path:
        return self.config / "config.yaml"

    @property
    def keys(self) -> Path:
        """Private keys: the folder is 0700, each file 0600."""
        return self.config / "keys"

    @property
    def sandbox(self) -> Path:
        """The emulated region and its instances' disks."""
        return self.state / "sandbox"


@dataclass(frozen=True)
class Profile:
    """One named section of the configuration."""

    name: str
    provider: str = "aws"
    emulated: bool = False
    """The region is the sandbox's: started when it is needed, free of charge, never asked about."""
    region: str = "us-west-2"
    kind: str = "p2"
    image: str | None = None
    """An AMI of one's own choice instead of the kind's public one."""
    user: str = "ubuntu"
    ssh_port: int = 22
    disk_gb: int = 128
    aws_profile: str | None = None
    """The section of `~/.aws` that has the credentials; None: boto3's own search."""
    spot: bool = False
    """New machines are spot machines unless the command line says otherwise."""
    autostop: int = 30
    """Minutes of idleness after which the machine stops itself; 0: never."""
    max_hours: int = 24
    """Hours after a start at which it stops itself whatever it does; 0: never. `gpu keep` holds that off, too."""
    budget: float | None = None
    """US dollars in all, from the ledger: nothing starts beyond it, and what runs is stopped."""
    host: str | None = None
    """A machine of one's own, as `ssh HOST` finds it: an alias of `~/.ssh/config`, or `user@host`."""
    gpu: int | None = None
    """The number of the GPU there that runs take; None: one that nobody uses."""


_VALUES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "bool": ("true or false", (bool,)),
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "str": ("a text", (str,)),
}

BUILT_IN: Mapping[str, Profile] = {
    "sandbox": Profile("sandbox", emulated=True, ssh_port=2222),
    "aws": Profile("aws"),
}


@dataclass(frozen=True)
class Settings:
    """The configuration file, merged over the built-in profiles."""

    file: Path
    default: str = "sandbox"
    profiles: Mapping[str, Profile] = field(default_factory=lambda: dict(BUILT_IN))
    default_chosen: bool = False
    """True once somebody has said which profile is theirs; until then it is the sandbox."""

    def profile(self, name: str | None = None) -> Profile:
        wanted = name or self.default
        if wanted not in self.profiles:
            known = ", ".join(sorted(self.profiles))
            raise UsageError(
                f"there is no profile {wanted} in {self.file}",
                f"{nearest(wanted, self.profiles)} The profiles are: {known}.".strip().rstrip("."),
            )
        return self.profiles[wanted]

    def choose_default(self, name: str) -> None:
        """Write `default: NAME` into the file, keeping the rest of it byte for byte."""
        self.profile(name)
        text = self.file.read_text() if self.file.exists() else ""
        kept = [line for line in text.splitlines(keepends=True) if not line.startswith("default:")]
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.file.with_name(self.file.name + ".new")
        new.write_text(f"default: {name}\n" + "".join(kept))
        new.replace(self.file)


def load(file: Path, *, named: bool = False) -> Settings:
    """Read the configuration; GpuError says which line is wrong. A file that is not there is an empty one, unless it
    was `named`: its budget would be missed."""
    document = _parse(file, named)
    profiles = dict(BUILT_IN)
    sections = document.get("profiles") or {}
    if not isinstance(sections, dict):
        raise GpuError(f"{file}: `profiles` is not a list of names and their settings", "See the README's example")
    for name, section in sections.items():
        profiles[str(name)] = _profile(file, str(name), section or {}, profiles.get(str(name)))
    default = document.get("default")
    settings = Settings(file, str(default or "sandbox"), profiles, default_chosen=default is not None)
    settings.profile()
    return settings


def _parse(file: Path, named: bool) -> dict[str, Any]:
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError as error:
        if not named:
            return {}
        raise UsageError(
            f"there is no configuration {file}", "Check the path that --config or GPU_CONFIG gives"
        ) from error
    except UnicodeDecodeError as error:
        raise GpuError(f"{file} is not text in UTF-8, at byte {error.start}", "Mend it, or move it away") from error
    except OSError as error:
        raise GpuError(f"{file} cannot be read: {error.strerror}", "Check its mode and owner") from error
    if len(text) > 1_000_000:
        raise GpuError(f"{file} is larger than a configuration can be", "Move it away; gpu makes do without one")
    try:
        document = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise GpuError(f"{file} is not YAML: {str(error)[:300]}", "Mend that line, or move the file away") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise GpuError(f"{file} holds no settings", "Its top level is `default:` and `profiles:`")
    return document


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few lines of them can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed here")
        return super().compose_node(parent, index)


def _profile(file: Path, name: str, section: Any, base: Profile | None) -> Profile:
    if not isinstance(section, dict):
        raise GpuError(f"{file}: the profile {name} is not a list of settings", "See the README's example")
    known = {f.name: f.type for f in fields(Profile) if f.name not in ("name", "emulated")}
    for key, value in section.items():
        if key not in known:
            raise GpuError(
                f"{file}: the profile {name} has an unknown setting {key}",
                nearest(str(key), known) or f"Known are: {', '.join(known)}",
            )
        _check(file, name, key, value, str(known[key]))
    return replace(base or Profile(name), **section)


def _check(file: Path, name: str, key: str, value: Any, declared: str) -> None:
    word, accepted = next(entry for part, entry in _VALUES.items() if part in declared)
    fits = isinstance(value, accepted) and isinstance(value, bool) == (accepted == (bool,))
    if not fits or (not isinstance(value, str) and value < 0):
        raise GpuError(f"{file}: {key} of the profile {name} is {value!r}", f"It takes {word}")
