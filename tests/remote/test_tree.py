"""Trees, their caches, the staging folder and hostile ends of a copy, without a machine but where one is needed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import GpuError
from orchestrator.providers.base import Address
from orchestrator.remote import farend, inbound, sync
from orchestrator.remote import link as links
from orchestrator.remote import wire as frames
from orchestrator.remote.exclusion import Occupied
from orchestrator.remote.lanes import Lane, Lanes
from orchestrator.remote.meter import Meter
from orchestrator.remote.pull import _at_home, _Pull
from orchestrator.remote.sender import HEADER, SMALL_HEADER, WHOLE, Part
from orchestrator.remote.staging import Refused, Staging, locked
from orchestrator.remote.statcache import StatCache
from orchestrator.remote.tree import FILE, FOLDER, LINK, Entry, Tree, check_name, decode, encode, fingerprint
from orchestrator.remote.wire import Broken, Wire
from orchestrator.reporter import Silent

from .conftest import Machine, eventually

CLIMBING = [
    b"",
    b".",
    b"..",
    b"/etc/passwd",
    b"../x",
    b"a/../../x",
    b"a//b",
    b"a/",
    b"./a",
    b"a/.",
    b"a\0b",
    b"x" * 256,
]
STRAIGHT = [
    b"a",
    b"...",
    b"..a",
    b"a..",
    b".a",
    b"-rf",
    b"\xff\xfe",
    b"a/b/c",
    b"$(touch x)",
    b"two\nlines",
    b"x" * 255,
]

part = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..", b".quarantine")
)
trees = st.dictionaries(
    st.lists(part, min_size=1, max_size=3).map(tuple), st.none() | st.binary(max_size=200), max_size=12
)


def grow(root: Path, tree: dict[tuple[bytes, ...], bytes | None]) -> None:
    """None is a folder; what another name stands in the way of is left out."""
    root.mkdir(parents=True)
    for parts, data in tree.items():
        place = os.path.join(os.fsencode(root), *parts)
        with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if data is None:
                os.mkdir(place)
            else:
                with open(place, "xb") as stream:
                    stream.write(data)


def shape(root: Path) -> dict[bytes, bytes | None]:
    found: dict[bytes, bytes | None] = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in folders:
            found[os.path.relpath(os.path.join(folder, name), os.fsencode(root))] = None
        for name in files:
            with open(os.path.join(folder, name), "rb") as stream:
                found[os.path.relpath(os.path.join(folder, name), os.fsencode(root))] = stream.read()
    return found


def whole(folder: Path, cache: Path | None = None) -> Tree:
    tree = Tree(os.fsencode(folder), StatCache(os.fsencode(cache or folder.with_name("cache"))))
    tree.look()
    tree.complete(lambda: None)
    return tree


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=trees, second=trees)
def test_push_then_pull_is_the_identity(machine: Machine, tmp_path: Path, first, second) -> None:
    """For any tree of byte names, and over any other that is there."""
    source, back, target = tmp_path / "source", tmp_path / "back", PurePosixPath("gpu/data/any")
    for tree in (first, second):
        shutil.rmtree(source, ignore_errors=True)
        grow(source, tree)
        with Silent().progress("") as bar:
            sync.push(machine.address, source, target, bar)
        assert shape(machine.home / target) == shape(source)
    shutil.rmtree(back, ignore_errors=True)
    with Silent().progress("") as bar:
        sync.pull(machine.address, target, back, bar)
    assert shape(back) == shape(source)
    shutil.rmtree(machine.home / target)


@given(trees)
def test_a_manifest_survives_the_wire(tree) -> None:
    entries = {b"/".join(parts): Entry(FILE, len(data or b""), -5, os.urandom(32)) for parts, data in tree.items()}
    assert decode(encode(entries)) == entries
    for cut in range(0, len(encode(entries)), 7):
        with pytest.raises(ValueError, match="a manifest"):
            decode(encode(entries)[:cut])


@given(st.binary(max_size=300))
def test_any_bytes_are_no_manifest_or_a_sound_one(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        for name, entry in decode(content).items():
            assert check_name(name) and entry.size >= 0


@pytest.mark.parametrize("name", CLIMBING)
def test_names_that_climb_are_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="out of its folder"):
        check_name(name)


@pytest.mark.parametrize("name", STRAIGHT)
def test_odd_names_are_names(name: bytes) -> None:
    assert check_name(name) == name


def test_times_are_no_part_of_a_fingerprint(tmp_path: Path) -> None:
    grow(tmp_path / "tree", {(b"a", b"b"): b"content"})
    before = fingerprint(whole(tmp_path / "tree").entries)
    os.utime(tmp_path / "tree/a/b", ns=(5, 5))
    assert fingerprint(whole(tmp_path / "tree").entries) == before
    (tmp_path / "tree/a/b").write_bytes(b"Content")
    assert fingerprint(whole(tmp_path / "tree").entries) != before


def test_a_lately_changed_file_is_read_again(tmp_path: Path) -> None:
    """Two changes within a tick of the disk's clock look like one: the first is not remembered."""
    cache = StatCache(os.fsencode(tmp_path / "cache"))
    file = tmp_path / "file"
    file.write_bytes(b"a")
    found = file.stat()
    now = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    later = (now[0], now[1], now[2] + 10**12, now[3])
    cache.put(b"file", later, bytes(32))
    assert cache.get(b"file", later) == b""
    old = (now[0], now[1], now[2] - 10**10 + 1, now[3])
    cache.put(b"file", old, b"\1" * 32)
    assert cache.get(b"file", old) == b"\1" * 32


@contextlib.contextmanager
def staging(target: Path) -> Iterator[Staging]:
    with locked(os.fsencode(target)) as found:
        yield found


def small(name: bytes, data: bytes, digest: bytes | None = None) -> bytes:
    return SMALL_HEADER.pack(0, len(name), digest or hashlib.sha256(data).digest()) + name + data


def test_what_is_not_its_digest_is_not_published(tmp_path: Path) -> None:
    with staging(tmp_path / "data") as found:
        assert found.small(small(b"good", b"good")) == (b"good", True)
        assert found.small(small(b"bad", b"bad", bytes(32))) == (b"bad", False)
        found.begin(HEADER.pack(0, 4, 0) + b"large")
        found.data(b"larg")
        assert found.end(WHOLE + bytes(32)) == (b"large", False)
        found.publish([], Tree(os.fsencode(tmp_path / "data"), StatCache(b"")))
    assert shape(tmp_path / "data") == {b"good": b"good"}
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_more_than_was_announced_is_refused(tmp_path: Path) -> None:
    with staging(tmp_path / "data") as found, pytest.raises(Refused):
        found.begin(HEADER.pack(0, 4, 0) + b"bomb")
        found.data(b"large")


@pytest.mark.parametrize("name", CLIMBING)
def test_nothing_is_staged_outside(tmp_path: Path, name: bytes) -> None:
    with staging(tmp_path / "data") as found:
        for attempt in (
            lambda: found.small(small(name, b"x")),
            lambda: found.begin(HEADER.pack(0, 1, 0) + name),
            lambda: found.folder(name),
            lambda: found.link(name, b"x"),
            lambda: found.drop([name]),
            lambda: found.keep(name, bytes(32)),
            lambda: found.publish([name], Tree(b"/nowhere", StatCache(b""))),
        ):
            with pytest.raises(ValueError, match="out of its folder"):
                attempt()


def test_a_link_in_the_target_is_replaced_not_followed(tmp_path: Path) -> None:
    """A link to another folder, where a folder is to be: what it leads to stays as it is."""
    outside, data = tmp_path / "outside", tmp_path / "data"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    data.mkdir()
    (data / "sub").symlink_to(outside)
    with staging(data) as found:
        found.small(small(b"sub/file", b"x"))
        found.publish([b"sub/kept"], Tree(os.fsencode(data), StatCache(b"")))
    assert shape(outside) == {b"kept": b"kept"}
    assert shape(data) == {b"sub": None, b"sub/file": b"x"}


def test_what_an_earlier_copy_left_is_not_published(tmp_path: Path) -> None:
    """Also where the staging folder becomes the target: a folder, a link and a beginning that nobody wanted."""
    left = tmp_path / ".data.part/tree"
    (left / "old/deep").mkdir(parents=True)
    (left / "old/deep/beginning").write_bytes(b"x")
    (left / "link").symlink_to("/etc/passwd")
    with staging(tmp_path / "data") as found:
        found.small(small(b"sub/file", b"x"))
        found.publish([], Tree(os.fsencode(tmp_path / "data"), StatCache(b"")))
    assert shape(tmp_path / "data") == {b"sub": None, b"sub/file": b"x"}
    assert not (tmp_path / "data/link").is_symlink()


def test_what_was_received_is_not_read_again(tmp_path: Path) -> None:
    """Whether the folder is new, all of it renamed at once, or each file was renamed into one that is there."""
    data, cache = tmp_path / "data", os.fsencode(tmp_path / "cache")
    for name in (b"first", b"second"):
        with staging(data) as found:
            found.small(small(name, name))
            found.begin(HEADER.pack(0, 5, 0) + name + b" large")
            found.data(b"large")
            found.end(WHOLE + hashlib.sha256(b"large").digest())
            published = Tree(os.fsencode(data), StatCache(cache))
            published.look()
            found.publish([], published)
        seen = Tree(os.fsencode(data), StatCache(cache))
        seen.look()
        assert len(seen.entries) == (2 if name == b"first" else 4)
        assert all(entry.digest for entry in seen.entries.values())


@pytest.mark.parametrize("size", [0, 5, (1 << 20) - 5, 1 << 20, (1 << 20) + 1])
def test_frames_of_any_size_arrive_in_any_pieces(size: int) -> None:
    reads, writes = os.pipe()
    content = random.randbytes(size)
    frames_sent = [(frames.DATA, content), (frames.BEAT, b""), *[(frames.KEEP, b"%d" % n) for n in range(3000)]]

    def say() -> None:
        there = Wire(reads, writes)
        for kind, payload in frames_sent * 2:
            there.send(kind, payload[:7], payload[7:])
        there.flush()

    thread = threading.Thread(target=say)
    thread.start()
    wire = Wire(reads, writes)
    try:
        for kind, payload in frames_sent * 2:
            if kind != frames.BEAT:
                found = wire.receive()
                assert (found[0], bytes(found[1])) == (kind, payload)
    finally:
        thread.join(5)
        os.close(reads)
        os.close(writes)


def test_two_copies_at_once_wait_for_each_other(tmp_path: Path) -> None:
    with staging(tmp_path / "data"), pytest.raises(Occupied), locked(os.fsencode(tmp_path / "data"), 0.1):
        pass
    with staging(tmp_path / "data"):
        pass


class Hostile:
    """A machine's end that says what it likes; the client's end of the pull is the real one."""

    address = Address("127.0.0.1", 22, "nobody", None, None)

    def __init__(self, answers: list[tuple[bytes, bytes]]) -> None:
        self.reads, self.writes = os.pipe()
        self.void = os.open(os.devnull, os.O_WRONLY)
        there = Wire(self.reads, self.writes)
        self.wire = Wire(self.reads, self.void)
        self.beat = lambda: None
        self._thread = threading.Thread(target=self._say, args=(there, answers))
        self._thread.start()

    @staticmethod
    def _say(wire: Wire, answers: list[tuple[bytes, bytes]]) -> None:
        for kind, payload in answers:
            wire.send(kind, payload)
        wire.flush()

    def answer(self) -> dict[str, object]:
        return self.checked(self.wire.expect(frames.ANSWER))

    @staticmethod
    def checked(payload: bytes) -> dict[str, object]:
        found: dict[str, object] = json.loads(payload)
        return found

    def close(self) -> None:
        self._thread.join()
        for descriptor in (self.reads, self.writes, self.void):
            os.close(descriptor)


def raw(name: bytes, kind: int = FILE, size: int = 1) -> bytes:
    return struct.pack("<Q", 1) + struct.pack("<Bqq32s", kind, size, 0, b"\1" * 32) + name + b"\0"


GOOD = encode({b"file": Entry(FILE, 1, 0, b"\1" * 32)})
DIFFERS = (frames.ANSWER, b'{"same": false}')
NOTHING = [(frames.MANIFEST, GOOD), (frames.ANSWER, b"{}")]
NO_MORE = (frames.MANIFEST, encode({}))
HOSTILE = {
    **{f"name {name[:9]!r}": [(frames.MANIFEST, raw(name))] for name in CLIMBING},
    "link": [(frames.MANIFEST, raw(b"file", LINK))],
    "device": [(frames.MANIFEST, raw(b"file", 7))],
    "negative": [(frames.MANIFEST, raw(b"file", FILE, -1))],
    "huge": [(frames.MANIFEST, raw(b"file", FILE, 1 << 60))],
    "unasked": [(frames.MANIFEST, GOOD), (frames.SMALL, small(b"other", b"x"))],
    "climbing after all": [(frames.MANIFEST, GOOD), (frames.SMALL, small(b"../file", b"x"))],
    "larger": [(frames.MANIFEST, GOOD), (frames.SMALL, small(b"file", b"xx"))],
    "bomb": [(frames.MANIFEST, GOOD), (frames.FILE, HEADER.pack(0, 1, 0) + b"file"), (frames.DATA, b"xxxxxx")],
    "other bytes": [(frames.MANIFEST, GOOD), (frames.SMALL, small(b"file", b"x")), (frames.ANSWER, b"{}"), NO_MORE],
    "again unasked": [*NOTHING, (frames.MANIFEST, raw(b"mine")), (frames.SMALL, small(b"mine", b"x"))],
    "again a link": [*NOTHING, (frames.MANIFEST, raw(b"file", LINK))],
    "again a folder": [*NOTHING, (frames.MANIFEST, raw(b"file", FOLDER))],
    "again huge": [*NOTHING, (frames.MANIFEST, raw(b"file", FILE, 1 << 60))],
    "again larger": [*NOTHING, (frames.MANIFEST, GOOD), (frames.SMALL, small(b"file", b"xx"))],
    "link frame": [(frames.MANIFEST, GOOD), (frames.LINK, b"file\0/etc/passwd")],
    "removal": [(frames.MANIFEST, GOOD), (frames.REMOVE, b"mine")],
    "short": [(frames.MANIFEST, GOOD), (frames.SMALL, b"x")],
    "data first": [(frames.MANIFEST, GOOD), (frames.DATA, b"x")],
    "nothing": [*NOTHING, NO_MORE],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_machine_gets_nothing_home(tmp_path: Path, what: str) -> None:
    target = tmp_path / "in/runs"
    target.mkdir(parents=True)
    (target / "mine").write_text("mine")
    end = Hostile([DIFFERS, *HOSTILE[what]])
    try:
        with pytest.raises(GpuError), _at_home(target) as found, Silent().progress("") as bar:
            _Pull(end, (PurePosixPath("any"), whole(target), found), bar).run(sync_remaining())  # type: ignore[arg-type]
    finally:
        end.close()
    assert shape(target) == {b"mine": b"mine"}
    assert [entry.name for entry in tmp_path.iterdir() if entry.name not in ("in", "home")] == []


FILES = {name: Entry(FILE, 1, 0, b"") for name in (b"a", b"b", b"c", b"d")}
LIES = {
    "what another was asked for": [(frames.SMALL, small(b"a", b"x"))],
    "what nobody was asked for": [(frames.SMALL, small(b"e", b"x"))],
    "twice": [(frames.SMALL, small(b"b", b"x")), (frames.SMALL, small(b"b", b"y"))],
    "out of turn": [(frames.SMALL, small(b"d", b"x"))],
    "larger": [(frames.SMALL, small(b"b", b"xx"))],
    "climbing": [(frames.SMALL, small(b"../b", b"x"))],
    "bomb": [(frames.FILE, HEADER.pack(0, 1, 0) + b"b"), (frames.DATA, b"xx")],
    "two at once": [(frames.FILE, HEADER.pack(0, 1, 0) + b"b"), (frames.FILE, HEADER.pack(0, 1, 0) + b"b")],
    "a part that nobody has": [(frames.FILE, HEADER.pack(0, 1, 1) + b"b")],
    "an end of nothing": [(frames.END, WHOLE + bytes(32))],
    "a removal": [(frames.REMOVE, b"mine")],
    "a manifest": [(frames.MANIFEST, GOOD)],
}


@pytest.mark.parametrize("what", LIES)
def test_no_connection_of_a_hostile_machine_is_trusted(tmp_path: Path, monkeypatch, what: str) -> None:
    """The second of two: of four files, one a batch, it was asked for b and then d."""
    monkeypatch.setattr(inbound, "BATCH_BYTES", 1)
    main, liar = Hostile([]), Hostile(LIES[what])
    lane = Lane(liar, {})  # type: ignore[arg-type]
    lane._state = "ready"
    try:
        with (
            pytest.raises(GpuError, match="is refused"),
            _at_home(tmp_path / "x") as found,
            Silent().progress("") as bar,
        ):
            haul = inbound.Haul(found, dict(FILES), Meter(bar, 4))
            ways = Lanes(main, [lane])  # type: ignore[arg-type]
            inbound.Gathering(ways, haul, dict.fromkeys(FILES, Part())).run()
    finally:
        main.close()
        liar.close()
    assert not (tmp_path / "x").exists()


def test_each_connection_brings_what_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what one could not bring is named; b comes in pieces while a and c come whole."""
    monkeypatch.setattr(inbound, "BATCH_BYTES", 1)
    done = (frames.ANSWER, b"{}")
    first = Hostile([(frames.SMALL, small(b"a", b"x")), done, (frames.SMALL, small(b"c", b"z")), done])
    begun = [(frames.FILE, HEADER.pack(0, 1, 0) + b"b"), (frames.DATA, b"y")]
    second = Hostile([*begun, (frames.END, WHOLE + hashlib.sha256(b"y").digest()), done, done])
    lane = Lane(second, {})  # type: ignore[arg-type]
    lane._state = "ready"
    try:
        with _at_home(tmp_path / "x") as found, Silent().progress("") as bar:
            haul = inbound.Haul(found, dict(FILES), Meter(bar, 4))
            gathering = inbound.Gathering(Lanes(first, [lane]), haul, dict.fromkeys(FILES, Part()))  # type: ignore[arg-type]
            gathering.run()
            assert gathering.beside() == {b"b": hashlib.sha256(b"y").digest()}
            assert haul.failed == {b"d": "was not sent"}
            found.publish([], Tree(os.fsencode(tmp_path / "x"), StatCache(b"")))
    finally:
        first.close()
        second.close()
    assert shape(tmp_path / "x") == {b"a": b"x", b"b": b"y", b"c": b"z"}


def sync_remaining():
    from orchestrator.remote.copying import Remaining

    return Remaining()


def test_setuid_and_special_files_do_not_come_home(machine: Machine, tmp_path: Path) -> None:
    there = machine.home / "gpu/runs/x"
    there.mkdir(parents=True)
    (there / "tool").write_text("#!/bin/sh\n")
    (there / "tool").chmod(0o6755)
    (there / "secret").symlink_to("/etc/passwd")
    os.mkfifo(there / "pipe")
    os.link(there / "tool", there / "hard")
    with Silent().progress("") as bar:
        copied = sync.pull(machine.address, PurePosixPath("gpu/runs/x"), tmp_path / "x", bar)
    assert sorted(copied.left) == ["pipe", "secret"]
    assert sorted(entry.name for entry in (tmp_path / "x").iterdir()) == ["hard", "tool"]
    assert not (tmp_path / "x/tool").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | 0o111)
    assert (tmp_path / "x/tool").stat().st_ino != (tmp_path / "x/hard").stat().st_ino


def test_noise_of_a_login_shell_is_skipped() -> None:
    reads, writes = os.pipe()
    os.write(writes, b"Welcome!\n" * 100 + frames.MAGIC)
    wire = Wire(reads, writes)
    wire.send(frames.ANSWER, b"{}")
    wire.flush()
    wire.await_magic()
    assert wire.expect(frames.ANSWER) == b"{}"
    os.write(writes, b"x" * 30_000)
    with pytest.raises(Broken):
        wire.receive()
    os.close(writes)
    os.close(reads)


def test_what_is_sent_ahead_imports_nothing_else() -> None:
    """The standard library, and one another in this order."""
    import ast

    seen: list[str] = []
    for name in links.MODULES:
        source = Path(farend.__file__).with_name(f"{name}.py").read_text()
        for node in ast.walk(ast.parse(source, feature_version=(3, 8))):
            if isinstance(node, ast.ImportFrom) and node.level:
                wanted = [node.module] if node.module else [alias.name for alias in node.names]
                assert set(wanted) <= set(seen), f"{name} imports {wanted}"
            elif isinstance(node, ast.Import | ast.ImportFrom):
                tops = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert all(str(top).partition(".")[0] in sys.stdlib_module_names for top in tops), name
        seen.append(name)


def login(machine: Machine, line: str) -> None:
    """One more line in what every login goes through."""
    script = machine.home.parent / "etc/login"
    script.write_text(script.read_text().replace("exec ", f"{line}\nexec ", 1))


def test_a_full_disk_is_known_before(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "pets"
    source.mkdir()
    with (source / "huge").open("wb") as stream:
        stream.truncate(1 << 43)
    (source / "a").write_bytes(b"a")
    with Silent().progress("") as bar, pytest.raises(GpuError, match="GB of disk left"):
        sync.push(machine.address, source, PurePosixPath("gpu/data/pets"), bar)
    assert list((machine.home / "gpu/data").iterdir()) == []


def test_a_disk_that_fills_all_the_same(machine: Machine, tmp_path: Path) -> None:
    """A limit on a file's size is met as a full disk is: in the middle of a write."""
    source = tmp_path / "pets"
    source.mkdir()
    (source / "a").write_bytes(b"a")
    (source / "large").write_bytes(random.randbytes(5_000_000))
    plain = (machine.home.parent / "etc/login").read_text()
    login(machine, "ulimit -f 2000")
    with Silent().progress("") as bar, pytest.raises(GpuError, match=r"the disk of .* is full"):
        sync.push(machine.address, source, PurePosixPath("gpu/data/pets"), bar)
    assert not (machine.home / "gpu/data/pets").exists()
    (machine.home.parent / "etc/login").write_text(plain)
    with Silent().progress("") as bar:
        assert sync.push(machine.address, source, PurePosixPath("gpu/data/pets"), bar).bytes < 4_200_000
    assert shape(machine.home / "gpu/data/pets") == shape(source)


def test_a_growing_file_and_one_that_vanishes_are_named(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "pets"
    source.mkdir()
    for number in range(30):
        (source / f"{number}.jpg").write_bytes(random.randbytes(20_000))
    going = [source / f"gone{number}" for number in range(3)]
    for file in going:
        file.write_bytes(b"gone")
    growing = subprocess.Popen(
        [sys.executable, "-c", "import sys\nf=open(sys.argv[1],'ab',0)\nwhile 1: f.write(b'x'*100)", source / "grows"]
    )

    eventually((source / "grows").exists)

    class Thief:
        def update(self, done: float, total: float | None = None, note: str = "") -> None:
            del done, total, note
            for file in going:
                file.unlink(missing_ok=True)

    try:
        with pytest.raises(GpuError, match=r"gone\d \(vanished\)") as caught:
            sync.push(machine.address, source, PurePosixPath("gpu/data/pets"), Thief())
        assert "grows (changed)" in caught.value.what
    finally:
        growing.kill()
        growing.wait()
    there = shape(machine.home / "gpu/data/pets")
    mine = shape(source)
    assert {name: data for name, data in mine.items() if name != b"grows"}.items() <= there.items()
    assert b"grows" not in there


class Once:
    """At the first sign of progress, something happens; then it goes on."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self._happens, self._over = happens, False

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        del done, total, note
        if not self._over:
            self._over = True
            self._happens()


def test_what_changes_in_mid_pull_comes_on_the_second_try(machine: Machine, tmp_path: Path) -> None:
    """Forty megabytes are more than what is on the way; what keeps growing, or vanishes, is named."""
    there, target = machine.home / "gpu/runs/x", PurePosixPath("gpu/runs/x")
    there.mkdir(parents=True)
    old = {f"{number}": random.randbytes(2_000_000) for number in range(20)}
    for name, data in old.items():
        (there / name).write_bytes(data)
    new = {name: data[:1_000] for name, data in old.items()}

    def rewrite() -> None:
        for name, data in new.items():
            (there / name).write_bytes(data)

    sync.pull(machine.address, target, tmp_path / "x", Once(rewrite))
    home = {os.fsdecode(name): data for name, data in shape(tmp_path / "x").items()}
    assert all(data in (old[name], new[name]) for name, data in home.items())
    assert home.keys() == old.keys()
    assert sum(home[name] == new[name] for name in home) >= 10


def test_what_the_machine_remembers_wrongly_does_not_come_home(machine: Machine, tmp_path: Path) -> None:
    """It sends what it has hashed before without hashing it again; at home every byte is."""
    there, target = machine.home / "gpu/runs/x", PurePosixPath("gpu/runs/x")
    there.mkdir(parents=True)
    for name, count in ((b"small", 20_000), (b"large", 700_000), (b"good", 20_000)):
        (there / os.fsdecode(name)).write_bytes(random.randbytes(count))
    tree = Tree(os.fsencode(there), StatCache(os.fsencode(there.with_name(".x.manifest"))))
    tree.look()
    for name in (b"small", b"large"):
        tree.received(name, b"\1" * 32, None)
    tree.save()
    with Silent().progress("") as bar, pytest.raises(GpuError, match="2 files could not be brought home") as caught:
        sync.pull(machine.address, target, tmp_path / "x", bar)
    assert "small (changed)" in caught.value.what
    assert "large (changed)" in caught.value.what
    assert shape(tmp_path / "x") == {b"good": (there / "good").read_bytes()}


def test_what_grows_or_vanishes_in_mid_pull_is_named(machine: Machine, tmp_path: Path) -> None:
    there, target = machine.home / "gpu/runs/x", PurePosixPath("gpu/runs/x")
    there.mkdir(parents=True)
    for number in range(20):
        (there / f"{number}").write_bytes(random.randbytes(2_000_000))
    # Two: on a busy computer one may stand still for as long as a try takes.
    grow = [sys.executable, "-c", "import sys\nf=open(sys.argv[1],'ab',0)\nwhile 1: f.write(b'x'*100)", there / "grows"]
    growing = [subprocess.Popen(grow) for _ in range(2)]
    eventually((there / "grows").exists)

    def steal() -> None:
        for number in range(20):
            (there / f"{number}").unlink()

    try:
        with pytest.raises(GpuError, match=r"could not be brought home: .*\(vanished\)") as caught:
            sync.pull(machine.address, target, tmp_path / "x", Once(steal))
    finally:
        for each in growing:
            each.kill()
            each.wait()
    home = shape(tmp_path / "x")
    named = int(caught.value.what.split()[0])
    assert len(home) == 21 - named
    assert b"grows" not in home
    assert all(data is not None and len(data) == 2_000_000 for data in home.values())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_at_home_that_fills_all_the_same(machine: Machine, tmp_path: Path) -> None:
    there, disk = machine.home / "gpu/runs/x", tmp_path / "disk"
    there.mkdir(parents=True)
    disk.mkdir()
    for number in range(20):
        (there / f"{number}").write_bytes(random.randbytes(500_000))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=False).returncode:
        pytest.skip("this root may not mount")

    def fill() -> None:
        with (disk / "other").open("wb", 0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(100_000))

    try:
        with pytest.raises(GpuError, match="the disk of this computer is full"):
            sync.pull(machine.address, PurePosixPath("gpu/runs/x"), disk / "x", Once(fill))
        assert not (disk / "x").exists()
        (disk / "other").unlink()
        with Silent().progress("") as bar:
            assert sync.pull(machine.address, PurePosixPath("gpu/runs/x"), disk / "x", bar).bytes < 10_000_000
        assert shape(disk / "x") == shape(there)
    finally:
        subprocess.run(["umount", disk], check=True)


PULL = """
import resource, sys
from pathlib import Path, PurePosixPath
from orchestrator.errors import GpuError
from orchestrator.providers.base import Address
from orchestrator.remote import sync
from orchestrator.reporter import Silent
host, port, user, key, known, source, target = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
with Silent().progress("") as bar:
    try:
        sync.pull(Address(host, int(port), user, Path(key), Path(known)), PurePosixPath(source), Path(target), bar)
    except GpuError as error:
        print(error.what)
"""


def test_a_limit_at_home_is_met_as_a_full_disk_is(machine: Machine, tmp_path: Path) -> None:
    there, home = machine.home / "gpu/runs/x", tmp_path / "x"
    there.mkdir(parents=True)
    (there / "large").write_bytes(random.randbytes(5_000_000))
    (there / "small").write_bytes(b"small")
    to = machine.address
    words = [to.host, to.port, to.user, to.key_file, to.known_hosts, "gpu/runs/x", home]
    done = subprocess.run(
        [sys.executable, "-c", PULL, *map(str, words)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("the disk of this computer is full")
    assert done.stdout.count("\n") == 1
    assert not home.exists()
    with Silent().progress("") as bar:
        assert sync.pull(machine.address, PurePosixPath("gpu/runs/x"), home, bar).bytes < 4_000_000
    assert shape(home) == shape(there)


def test_a_large_file_goes_as_a_difference(machine: Machine, tmp_path: Path) -> None:
    source = tmp_path / "pets"
    source.mkdir()
    (source / "two\nlines").write_bytes(random.randbytes(8_000_000))
    target = PurePosixPath("gpu/data/pets")
    with Silent().progress("") as bar:
        sync.push(machine.address, source, target, bar)
    with (source / "two\nlines").open("r+b") as stream:
        stream.seek(5_000_000)
        stream.write(b"changed")
    from tests.links.proxy import proxied

    with proxied(machine.address, tmp_path) as (proxy, address), Silent().progress("") as bar:
        sync.push(address, source, target, bar)
        assert sum(proxy.sent) < 1_000_000
    assert shape(machine.home / target) == shape(source)
