"""The machine's end of a copy: it answers what it has, receives or sends, and decides nothing.

Standard library only, Python 3.8 or newer. `link.py` sends it, with what it imports, ahead of every copy, so that
both ends are always of one version.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import shutil
from collections.abc import Callable, Iterable
from typing import Any

from . import wire as frames
from .exclusion import Occupied
from .sender import Part, send_file
from .staging import Refused, Staging, locked
from .statcache import StatCache
from .tree import FILE, FOLDER, Entry, Manifest, Tree, check_name, decode, encode, fingerprint
from .wire import Broken, Wire

# The client gives a sign of life every few seconds, whatever it is busy with.
PATIENCE_SECONDS = 14.0
PIPE_BYTES = 1 << 20


def main() -> int:
    # A hundred thousand small tuples that live to the end: looking for cycles among them finds none.
    gc.disable()
    # Linux alone has it, and a socket has none.
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # type: ignore[attr-defined,unused-ignore]
    wire = Wire(0, 1, PATIENCE_SECONDS)
    try:
        wire.write(frames.MAGIC)
        request = json.loads(wire.expect(frames.REQUEST))
        serve(wire, request)
    except Broken:
        return 1
    return 0


def serve(wire: Wire, request: dict[str, Any]) -> None:
    """One copy to its end. What goes wrong here is answered, not raised."""
    try:
        {"receive": receive, "join": join, "send": send, "give": give}[request["verb"]](wire, request)
    except OSError as error:
        name = error.filename
        shown = os.fsdecode(name) if isinstance(name, (str, bytes)) else ""
        wire.send_json({"error": error.strerror or str(error), "errno": error.errno, "name": shown})
    except Occupied:
        wire.send_json({"error": "another copy to the same folder is under way", "errno": 0, "name": ""})
    except (Refused, ValueError) as error:
        wire.send_json({"error": str(error), "errno": 0, "name": ""})


def open_tree(request: dict[str, Any]) -> Tree:
    folder = os.path.realpath(os.path.abspath(os.fsencode(request["folder"])))
    parent, name = os.path.split(folder)
    cache = StatCache(os.path.join(parent, b"." + name + b".manifest"), trust=not request["checksum"])
    tree = Tree(folder, cache, frozenset(os.fsencode(skipped) for skipped in request["skip"]))
    tree.look()
    return tree


# Receiving.


def receive(wire: Wire, request: dict[str, Any]) -> None:
    target = os.path.realpath(os.path.abspath(os.fsencode(request["folder"])))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with locked(target) as staging:
        tree = open_tree(request)
        tree.complete(_nothing)
        wanted = wire.expect(frames.FINGERPRINT)
        if wanted and wanted == fingerprint(tree.entries) and os.path.isdir(target):
            staging.clear()
            tree.save()
            wire.send_json({"same": True})
            return
        _tell_what_is_here(wire, staging, tree)
        _take_in(wire, staging, tree)


def _tell_what_is_here(wire: Wire, staging: Staging, tree: Tree) -> None:
    room = os.statvfs(os.path.dirname(staging.target))
    facts = {
        "same": False,
        "free_bytes": room.f_bavail * room.f_frsize,
        "free_files": room.f_favail if room.f_files else None,
        "rsync": shutil.which("rsync") is not None,
        "target": os.fsdecode(staging.target),
        "staging": os.fsdecode(staging.tree),
    }
    wire.send(frames.ANSWER, json.dumps(facts).encode())
    wire.send(frames.MANIFEST, encode(tree.entries))
    wire.send(frames.MANIFEST, encode(staging.contents(_nothing)))
    wire.flush()


def join(wire: Wire, request: dict[str, Any]) -> None:
    """Receive beside another connection of the same copy, which has shared its staging folder and will publish."""
    with locked(os.path.realpath(os.path.abspath(os.fsencode(request["folder"]))), joining=True) as staging:
        wire.send_json({})
        _take(wire, staging)
        arrived = {name: Entry(FILE, 0, 0, digest) for name, digest in staging.verified.items()}
        wire.send(frames.MANIFEST, encode(arrived))
        wire.flush()


def _take_in(wire: Wire, staging: Staging, tree: Tree) -> None:
    removals = _take(wire, staging)
    count = staging.publish(removals, tree)
    wire.send(frames.ANSWER, json.dumps({"published": count}).encode())
    wire.send(frames.FINGERPRINT, fingerprint(tree.entries))
    wire.flush()


def _take(wire: Wire, staging: Staging) -> list[bytes]:
    """Until all has come; what is to be removed."""
    removals: list[bytes] = []
    contents: dict[bytes, Callable[[memoryview], object]] = {frames.SMALL: staging.small, frames.DATA: staging.data}
    takers: dict[bytes, Callable[[bytes], object]] = {
        frames.FILE: staging.begin,
        frames.END: staging.end,
        frames.FOLDER: staging.folder,
        frames.LINK: lambda payload: staging.link(*payload.split(b"\0")),
        frames.KEEP: lambda payload: staging.keep(payload[32:], payload[:32]),
        frames.DROP: lambda payload: staging.drop([payload]),
        frames.REMOVE: removals.append,
        frames.SHARE: lambda _payload: _share(wire, staging),
        frames.CHECK: lambda payload: wire.send_json({"good": staging.check(payload[32:], payload[:32], _nothing)}),
    }
    while True:
        kind, payload = wire.receive()
        if kind == frames.PUBLISH:
            return removals
        if kind in contents:
            contents[kind](payload)
        elif kind in takers:
            takers[kind](bytes(payload))
        else:
            raise Refused(f"a frame of no kind: {kind!r}")


def _share(wire: Wire, staging: Staging) -> None:
    staging.share()
    wire.send_json({})


# Sending.


def send(wire: Wire, request: dict[str, Any]) -> None:
    tree = open_tree(request)
    if not os.path.isdir(tree.root):
        raise FileNotFoundError(2, "No such file or directory", request["folder"])
    tree.left += [name for name, entry in tree.entries.items() if entry.kind not in (FILE, FOLDER)]
    tree.entries = {name: entry for name, entry in tree.entries.items() if entry.kind in (FILE, FOLDER)}
    left = [os.fsdecode(name) for name in tree.left]
    known = wire.expect(frames.FINGERPRINT)
    if known:
        tree.complete(_nothing)
    if known and known == fingerprint(tree.entries):
        tree.save()
        wire.send_json({"same": True, "left": left})
        return
    wire.send(frames.ANSWER, json.dumps({"same": False, "left": left}).encode())
    wire.send(frames.MANIFEST, encode(tree.entries))
    wire.flush()
    try:
        _give_what_is_asked(wire, tree)
    finally:
        # Whatever has become of the copy, what was read need not be read again.
        tree.save()


def give(wire: Wire, request: dict[str, Any]) -> None:
    """Send beside another connection of the same copy, which has said what there is."""
    wire.send_json({})
    _give_what_is_asked(wire, Tree(os.path.realpath(os.path.abspath(os.fsencode(request["folder"]))), StatCache(b"")))


def _give_what_is_asked(wire: Wire, tree: Tree) -> None:
    parts: Manifest = {}
    while True:
        kind, payload = wire.receive()
        if kind == frames.PART:
            parts = decode(bytes(payload))
        elif kind == frames.WANT:
            wire.send_json({"failed": _give_out(wire, tree, decode(bytes(payload)), parts)})
            parts = {}
        elif kind == frames.KEEP:
            _learn(tree, bytes(payload[32:]), bytes(payload[:32]))
        elif kind == frames.AGAIN:
            wire.send(frames.MANIFEST, encode(_look_again(tree, bytes(payload).split(b"\0"))))
            wire.flush()
        elif kind == frames.SHARE:
            wire.send_json({})
        elif kind == frames.PUBLISH:
            return
        else:
            raise Refused(f"a frame of no kind: {kind!r}")


def _look_again(tree: Tree, names: Iterable[bytes]) -> Manifest:
    """What is a file still."""
    for name in names:
        tree.refresh(check_name(name))
    return {name: tree.entries[name] for name in names if name in tree.entries and tree.entries[name].kind == FILE}


def _give_out(wire: Wire, tree: Tree, asked: Manifest, parts: Manifest) -> dict[str, str]:
    """What could not be sent as it was announced, and why. `parts`: what the other end has of some already."""
    failed = {}
    for name, entry in asked.items():
        part = parts.get(name)
        there = Part(part.size, part.digest) if part else Part()
        sent, why = send_file(wire, tree.path(name), (name, entry), there, _ignored)
        if why:
            failed[os.fsdecode(name)] = why
        else:
            _learn(tree, name, sent)
    return failed


def _learn(tree: Tree, name: bytes, digest: bytes) -> None:
    """Of a file that was sent as the walk had seen it, here or beside."""
    if name in tree.entries:
        tree.learn(name, digest)


def _nothing() -> None:
    return


def _ignored(_count: int) -> None:
    return
