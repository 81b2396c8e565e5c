"""The keys: one for this computer to enter with, one for each machine to be known by. Made here, before the machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...errors import GpuError
from ...settings import Home
from ...state import write_atomically
from ...trust import Trust


def client_key(home: Home, profile: str) -> Path:
    """The file of the private key that enters the profile's machines."""
    return home.keys / profile


def host_key(home: Home, profile: str, kind: str) -> Path:
    """The file of the private key by which a new machine of `kind` is known until it has one of its own."""
    return Trust(home, profile, kind).first


def fresh_host_key(home: Home, profile: str, kind: str, *, beside: bool = False) -> str:
    """The public half of the host key for a machine that is about to be created.

    The key of a creation that was interrupted is used again, since its request must be the same to the byte; what is
    left of an earlier machine, which had made a key of its own, is removed first, unless that is still there `beside`
    the new one.
    """
    trust = Trust(home, profile, kind)
    if trust.public.exists() and not beside:
        trust.forget()
    return ensure(trust.first)


def public_host_keys(home: Home, profile: str, kind: str) -> list[str]:
    """Every key that the machine may show: its own, and the one that was made here; GpuError where there is none."""
    trust = Trust(home, profile, kind)
    own = trust.keys()
    made = [public(trust.first)] if trust.first.exists() or not own else []
    return list(dict.fromkeys([*own, *made]))


def hand_on(home: Home, profile: str, kind: str, becomes: str) -> None:
    """What the machine of `kind` is known by, given to the kind that it is about to become."""
    Trust(home, profile, kind).hand_on(becomes)


def forget_host_key(home: Home, profile: str, kind: str) -> None:
    Trust(home, profile, kind).forget()


def known_hosts(home: Home, profile: str, kind: str) -> Path:
    return Trust(home, profile, kind).known_hosts


def ensure(file: Path) -> str:
    """The public key of the private one in `file`, which is made where there is none. Loose modes are refused."""
    if not file.exists():
        # cryptography takes longer to load than commands that only look may take for it.
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        _folder(file.parent)
        private = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        write_atomically(file, private.decode(), mode=0o600)
    return public(file)


def public(file: Path) -> str:
    """`ssh-ed25519 AAAA...` of a private key; GpuError where it is missing, open to others or damaged."""
    from cryptography.hazmat.primitives import serialization

    _refuse_loose(file, 0o077)
    _refuse_loose(file.parent, 0o077)
    try:
        key = serialization.load_ssh_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise GpuError(f"the key {file} cannot be read: {error.strerror}", "Check its owner and mode") from error
    except (ValueError, TypeError) as error:
        raise GpuError(f"{file} is not an OpenSSH private key", "Put the right one back, or move it away") from error
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def pair_name(profile: str, public_key: str) -> str:
    """The key pair's name in EC2, which says which key it is: EC2 never tells the key itself."""
    digest = hashlib.sha256(" ".join(public_key.split()[:2]).encode()).hexdigest()
    return f"gpu-{profile}-{digest[:16]}"


def write_known_hosts(home: Home, profile: str, kind: str, *, ip: str, port: int) -> Path:
    """The file with the lines by which the machine is checked, one a key that it may show."""
    trust = Trust(home, profile, kind)
    trust.write_known_hosts(public_host_keys(home, profile, kind), host=ip, port=port)
    return trust.known_hosts


def _folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise GpuError(f"{folder} cannot be made: {error.strerror}", "Check who owns the folder above it") from error


def _refuse_loose(path: Path, forbidden: int) -> None:
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise GpuError(
            f"the key {path} is not there: {error.strerror}",
            "Copy it from the computer that made the machine, or remove the machine with: gpu destroy",
        ) from error
    if mode & forbidden:
        right = "700" if path.is_dir() else "600"
        raise GpuError(f"{path} is open to others (mode {mode:03o})", f"Close it with: chmod {right} {path}")
