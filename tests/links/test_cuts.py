"""A copy over a link that breaks: nothing partial is ever taken for whole, and only the rest is sent again."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from orchestrator.errors import GpuError
from orchestrator.providers.base import Address
from orchestrator.remote import inbound, lanes, sync
from orchestrator.remote.exclusion import Occupied, held
from orchestrator.remote.statcache import StatCache
from orchestrator.remote.tree import FILE, Tree
from orchestrator.reporter import Silent
from tests.remote.conftest import Machine, children, eventually, kill, name_of

from .proxy import Proxy, proxied

TARGET = PurePosixPath("gpu/data/pets")
BIG = 3_000_000
WHOLE = 3_900_000
"""Bytes that a copy of `data_set` takes over the wire, a little more than it weighs."""
FAR = 10_000_000
SAMPLE = [12_000, 100_000, 900_000, 2_000_000, 3_300_000]
SWEEP = [n for n in range(1_000, 3_800_000, 48_000) if n not in SAMPLE]


def data_set(folder: Path, larger: int = 0) -> Path:
    """One file that is gone on with, and forty that are small; `larger`: so many bytes more, in pieces of 500 kB."""
    (folder / "train/cat").mkdir(parents=True)
    for number in range(40):
        (folder / f"train/cat/{number}.jpg").write_bytes(random.randbytes(20_000))
    (folder / "train/big").write_bytes(random.randbytes(BIG))
    for number in range(larger // 500_000):
        (folder / f"train/{number}").write_bytes(random.randbytes(500_000))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def push(address: Address, source: Path) -> sync.Copied:
    with Silent().progress("") as bar:
        return sync.push(address, source, TARGET, bar)


def pull(address: Address, target: Path) -> sync.Copied:
    with Silent().progress("") as bar:
        return sync.pull(address, TARGET, target, bar)


@contextlib.contextmanager
def watched(folder: Path, whole: dict[str, bytes]) -> Iterator[None]:
    """Looks all the time: what is there under its final name is whole."""
    seen: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.001):
            with contextlib.suppress(OSError):
                found = content(folder)
                seen.extend(name for name, data in found.items() if data != whole.get(name))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert seen == []


def marks(rest: list[int]) -> list[object]:
    return [*SAMPLE, *(pytest.param(n, marks=pytest.mark.slow) for n in rest)]


def moments(count: int, rest: int) -> list[object]:
    chosen = random.Random(1)
    times = [chosen.uniform(0.0, 1.2) for _ in range(count + rest)]
    return [*times[:count], *(pytest.param(t, marks=pytest.mark.slow) for t in times[count:])]


@pytest.mark.parametrize("count", marks(SWEEP))
def test_a_push_that_is_cut_sends_only_the_rest(machine: Machine, tmp_path: Path, count: int) -> None:
    source = data_set(tmp_path / "pets")
    whole = content(source)
    there = machine.home / TARGET
    with proxied(machine.address, tmp_path) as (proxy, address), watched(there, whole):
        proxy.cut_after(count)
        copied = push(address, source)
        assert len(proxy.sent) == 2
        assert proxy.sent[1] < copied.bytes + 60_000
        # sshd drops what it had not passed on yet: its window of 2 MB, and a piece of a large file.
        assert sum(proxy.sent) < WHOLE + min(count, 2_500_000)
    assert content(there) == whole
    assert not list(there.parent.glob(".*.part"))


@pytest.mark.parametrize("count", [5_000, 6_000_000])
def test_a_push_cut_after_it_was_done_is_the_same(machine: Machine, tmp_path: Path, count: int) -> None:
    source = data_set(tmp_path / "pets")
    push(machine.address, source)
    with proxied(machine.address, tmp_path) as (proxy, address):
        proxy.cut_after(count)
        assert push(address, source).files == 0
        assert sum(proxy.sent) < 60_000


@pytest.mark.parametrize("count", marks(SWEEP))
def test_a_pull_that_is_cut_brings_only_the_rest(machine: Machine, tmp_path: Path, count: int) -> None:
    whole = content(data_set(machine.home / TARGET))
    with proxied(machine.address, tmp_path) as (proxy, address), watched(tmp_path / "back", whole):
        proxy.cut_after(count, back=True)
        copied = pull(address, tmp_path / "back")
        assert len(proxy.back) == 2
        assert proxy.back[1] < copied.bytes + 60_000
        # ssh drops what it had not passed on yet, as sshd does.
        assert sum(proxy.back) < WHOLE + min(count, 2_500_000)
    assert content(tmp_path / "back") == whole
    assert not list(tmp_path.glob(".*.part"))


def test_a_push_does_not_send_again_what_has_arrived(machine: Machine, tmp_path: Path) -> None:
    source = data_set(tmp_path / "pets")
    staged = machine.home / "gpu/data/.pets.part/tree/train"
    (staged / "cat").mkdir(parents=True)
    (staged / "big").write_bytes((source / "train/big").read_bytes()[:2_000_000])
    for number in range(30):
        (staged / f"cat/{number}.jpg").write_bytes((source / f"train/cat/{number}.jpg").read_bytes())
    with proxied(machine.address, tmp_path) as (proxy, address):
        assert push(address, source).bytes == BIG - 2_000_000 + 10 * 20_000
        assert sum(proxy.sent) < BIG - 2_000_000 + 10 * 20_000 + 60_000
    assert content(machine.home / TARGET) == content(source)


def test_a_pull_does_not_bring_again_what_has_come(machine: Machine, tmp_path: Path) -> None:
    data_set(machine.home / TARGET)
    back = tmp_path / "back"
    staged = tmp_path / ".back.part/tree/train"
    staged.mkdir(parents=True)
    (staged / "big").write_bytes((machine.home / TARGET / "train/big").read_bytes()[:2_000_000])
    assert pull(machine.address, back).bytes == BIG - 2_000_000 + 40 * 20_000
    assert content(back) == content(machine.home / TARGET)


def test_the_beginning_of_another_file_is_not_gone_on_with(machine: Machine, tmp_path: Path) -> None:
    source = data_set(tmp_path / "pets")
    staged = machine.home / "gpu/data/.pets.part/tree/train"
    (staged / "cat").mkdir(parents=True)
    (staged / "big").write_bytes(b"x" * 2_000_000)
    (staged / "cat/0.jpg").write_bytes(b"y" * 20_000)
    (staged / "old.jpg").write_bytes(b"of another copy")
    push(machine.address, source)
    assert content(machine.home / TARGET) == content(source)


@pytest.mark.parametrize("count", [*(pytest.param(n, marks=pytest.mark.slow) for n in (0, 500)), 200_000])
def test_a_black_hole_is_noticed(machine: Machine, tmp_path: Path, count: int) -> None:
    """Within 15 seconds a connection is given up; the next one finishes the copy."""
    source = data_set(tmp_path / "pets")
    with proxied(machine.address, tmp_path) as (proxy, address):
        proxy.swallow_after(count)
        began = time.monotonic()
        if count < 20_000:
            with pytest.raises(GpuError, match="SSH could not connect"):
                push(address, source)
            assert time.monotonic() - began < 15
        push(address, source)
        assert time.monotonic() - began < 20
        assert len(proxy.sent) == 2
    assert content(machine.home / TARGET) == content(source)


@pytest.fixture
def far(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, Address]]:
    """So far that a copy takes further connections, for little already."""
    monkeypatch.setattr(lanes, "WORTH_BYTES", 0)
    monkeypatch.setattr(inbound, "BATCH_BYTES", 200_000)
    with proxied(machine.address, tmp_path, 0.05) as found:
        yield found


class Joined:
    """At the first sign of progress, wait until all connections are there: they come while the first one sends.

    `broken`: whether the first one is gone already.
    """

    def __init__(self, machine: Machine, broken: Callable[[], bool] = lambda: False) -> None:
        self._machine, self._broken = machine, broken
        self._over = False

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        del done, total, note
        if not self._over:
            self._over = True
            eventually(lambda: self._count() == lanes.MOST or self._broken(), 40)
            time.sleep(0.3)

    def _count(self) -> int:
        """Of the machine's ends that run."""
        return sum(name_of(pid).startswith("python") for pid in self._machine.processes())


def test_a_push_that_has_far_to_go_takes_more_connections(machine: Machine, tmp_path: Path, far) -> None:
    proxy, address = far
    source = data_set(tmp_path / "pets", larger=FAR)
    with watched(machine.home / TARGET, content(source)):
        copied = sync.push(address, source, TARGET, Joined(machine))
    assert copied.files == len(content(source))
    assert len(proxy.sent) == lanes.MOST
    assert min(proxy.sent) > 2_000_000
    assert content(machine.home / TARGET) == content(source)
    assert not list(machine.home.glob("gpu/data/.*.part"))
    assert push(address, source).files == 0


@pytest.mark.parametrize("which", [*(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1)), 2])
def test_a_cut_of_any_connection_is_a_cut_of_the_copy(machine: Machine, tmp_path: Path, far, which: int) -> None:
    proxy, address = far
    source = data_set(tmp_path / "pets", larger=FAR)
    proxy.pass_on(which)
    proxy.cut_after(700_000)
    with watched(machine.home / TARGET, content(source)):
        sync.push(address, source, TARGET, Joined(machine))
    assert len(proxy.sent) > lanes.MOST
    assert content(machine.home / TARGET) == content(source)
    assert not list(machine.home.glob("gpu/data/.*.part"))


def test_one_connection_is_enough_where_no_other_is_to_be_had(machine: Machine, tmp_path: Path, far) -> None:
    proxy, address = far
    source = data_set(tmp_path / "pets", larger=FAR)
    proxy.pass_on(1)
    proxy.cut_after(100, 100)
    assert push(address, source).files == len(content(source))
    assert len(proxy.sent) == lanes.MOST
    assert content(machine.home / TARGET) == content(source)


def remembered(folder: Path) -> list[bool]:
    """Whether the machine knows the digest of each file in there."""
    cache = StatCache(os.fsencode(folder.with_name(f".{folder.name}.manifest")))
    tree = Tree(os.fsencode(folder), cache)
    tree.look()
    return [bool(entry.digest) for entry in tree.entries.values() if entry.kind == FILE]


def test_a_pull_that_has_far_to_go_takes_more_connections(machine: Machine, tmp_path: Path, far) -> None:
    proxy, address = far
    there, back = data_set(machine.home / TARGET, larger=FAR), tmp_path / "back"
    with watched(back, content(there)):
        copied = sync.pull(address, TARGET, back, Joined(machine))
    assert copied.files == len(content(there)) == len(remembered(there))
    assert all(remembered(there))
    assert len(proxy.back) == lanes.MOST
    assert min(proxy.back) > 1_000_000
    assert content(back) == content(there)
    assert not list(tmp_path.glob(".*.part"))
    assert pull(address, back).files == 0


EACH = [(0, 600_000), (1, 300_000), (2, 900_000)]
EACH_SWEEP = [(which, n) for which in range(lanes.MOST) for n in range(60_000, 3_400_000, 240_000)]


@pytest.mark.parametrize(("which", "count"), [*EACH, *(pytest.param(*e, marks=pytest.mark.slow) for e in EACH_SWEEP)])
def test_a_pull_goes_on_after_a_cut_of_any_connection(machine: Machine, tmp_path: Path, far, which, count) -> None:
    proxy, address = far
    there, back = data_set(machine.home / TARGET, larger=FAR), tmp_path / "back"
    proxy.pass_on(which)
    proxy.cut_after(count, back=True)
    with watched(back, content(there)):
        copied = sync.pull(address, TARGET, back, Joined(machine, lambda: which == 0 and proxy.back[0] == count))
    assert len(proxy.back) > lanes.MOST
    assert sum(proxy.back[lanes.MOST :]) < copied.bytes + 100_000
    # On each connection what ssh had not passed on yet.
    assert sum(proxy.back) < WHOLE + FAR + lanes.MOST * 2_500_000
    assert content(back) == content(there)
    assert not list(tmp_path.glob(".*.part"))


def test_a_pull_does_with_one_connection_where_no_other_is_to_be_had(machine: Machine, tmp_path: Path, far) -> None:
    proxy, address = far
    there, back = data_set(machine.home / TARGET, larger=FAR), tmp_path / "back"
    proxy.pass_on(1)
    proxy.cut_after(100, 100)
    assert pull(address, back).files == len(content(there))
    assert len(proxy.back) == lanes.MOST
    assert content(back) == content(there)


@pytest.mark.parametrize("which", [*(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1)), 2])
def test_a_black_hole_in_any_connection_of_a_pull_is_noticed(machine: Machine, tmp_path: Path, far, which) -> None:
    proxy, address = far
    there, back = data_set(machine.home / TARGET, larger=FAR), tmp_path / "back"
    proxy.pass_on(which)
    proxy.swallow_after(400_000, back=True)
    began = time.monotonic()
    sync.pull(address, TARGET, back, Joined(machine))
    assert time.monotonic() - began < 30
    assert len(proxy.back) > lanes.MOST
    assert content(back) == content(there)


def test_ctrl_c_ends_every_connection_of_a_pull(machine: Machine, tmp_path: Path, far) -> None:
    _proxy, address = far
    there, back = data_set(machine.home / TARGET, larger=FAR), tmp_path / "back"

    class Interrupt(Joined):
        def update(self, done: float, total: float | None = None, note: str = "") -> None:
            super().update(done, total, note)
            if done > 2_000_000:
                raise KeyboardInterrupt

    with watched(back, content(there)):
        with pytest.raises(KeyboardInterrupt):
            sync.pull(address, TARGET, back, Interrupt(machine))
        assert not [pid for pid in children(os.getpid()) if name_of(pid).strip() == "ssh"]
        copied = pull(address, back)
    assert copied.bytes < BIG + FAR
    assert content(back) == content(there)


@pytest.mark.parametrize("moment", moments(2, 12))
def test_kill_9_of_one_of_the_machines_ends(machine: Machine, tmp_path: Path, far, moment: float) -> None:
    _proxy, address = far
    there, back = data_set(machine.home / TARGET, larger=FAR), tmp_path / "back"

    def strike() -> None:
        ends = [pid for pid in machine.processes() if name_of(pid).startswith("python")]
        if ends:
            kill(random.choice(ends))

    killer = threading.Timer(0.5 + moment, strike)
    killer.start()
    with watched(back, content(there)):
        pull(address, back)
    killer.join()
    assert content(back) == content(there)
    assert not list(tmp_path.glob(".*.part"))


def test_another_copy_waits_for_every_connection(tmp_path: Path) -> None:
    """Who shares the staging folder keeps newcomers out until the last one that joined is gone."""
    target = os.fsencode(tmp_path / "data")
    with contextlib.ExitStack() as main, contextlib.ExitStack() as beside:
        hold = main.enter_context(held(target))
        with pytest.raises(Occupied), held(target, 0.1, joining=True):
            pass
        hold.share()
        beside.enter_context(held(target, 0.1, joining=True))
        main.close()
        with pytest.raises(Occupied), held(target, 0.1):
            pass
        beside.close()
        with held(target, 0.1):
            pass
    assert not (tmp_path / ".data.part").exists()


@pytest.mark.slow
def test_a_link_that_never_gets_on_is_given_up(machine: Machine, tmp_path: Path) -> None:
    source = data_set(tmp_path / "pets")
    with proxied(machine.address, tmp_path) as (proxy, address):
        proxy.cut_after(*[30_000] * 20)
        with pytest.raises(GpuError, match="it goes on where it was"):
            push(address, source)
        assert len(proxy.sent) <= 6
    assert not (machine.home / TARGET).exists()


CLIENT = """
import sys
from pathlib import Path, PurePosixPath
from orchestrator.providers.base import Address
from orchestrator.remote import lanes, sync
from orchestrator.remote.exclusion import Occupied, held
from orchestrator.reporter import Silent
host, port, user, key, known, source, target = sys.argv[1:]
with Silent().progress("") as bar:
    sync.push(Address(host, int(port), user, Path(key), Path(known)), Path(source), PurePosixPath(target), bar)
"""


def client(address: Address, source: Path) -> subprocess.Popen[bytes]:
    words = [address.host, address.port, address.user, address.key_file, address.known_hosts, source, TARGET]
    return subprocess.Popen([sys.executable, "-c", CLIENT, *map(str, words)], stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("moment", moments(2, 12))
def test_kill_9_of_the_client(machine: Machine, tmp_path: Path, moment: float) -> None:
    source = data_set(tmp_path / "pets")
    whole = content(source)
    with watched(machine.home / TARGET, whole):
        process = client(machine.address, source)
        time.sleep(0.2 + moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        push(machine.address, source)
    assert content(machine.home / TARGET) == whole
    eventually(lambda: not list(machine.home.glob("gpu/data/.*.part")))


@pytest.mark.parametrize("moment", moments(2, 12))
def test_kill_9_of_the_machines_end(machine: Machine, tmp_path: Path, moment: float) -> None:
    source = data_set(tmp_path / "pets")
    whole = content(source)
    with watched(machine.home / TARGET, whole):
        process = client(machine.address, source)
        time.sleep(0.2 + moment)
        for pid in machine.processes():
            if name_of(pid).startswith("python"):
                kill(pid)
        process.wait(60)
        push(machine.address, source)
    assert content(machine.home / TARGET) == whole


def flip(file: Path) -> None:
    """One bit, with the same size and times."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


Damage = Callable[[Path], object]
CACHES: dict[str, Damage] = {
    "deleted": lambda cache: cache.unlink(),
    "emptied": lambda cache: cache.write_bytes(b""),
    "garbage": lambda cache: cache.write_bytes(os.urandom(5_000)),
    "a bit": lambda cache: flip(cache),
    "cut": lambda cache: os.truncate(cache, cache.stat().st_size // 2),
    "another's": lambda cache: cache.write_bytes(cache.read_bytes().replace(b"cat", b"dog")),
}


@pytest.mark.parametrize("checksum", [False, True])
def test_a_flipped_byte_is_found_and_only_that_file_sent(machine: Machine, tmp_path: Path, checksum: bool) -> None:
    """Its ctime gives it away even when size and mtime are as they were; `checksum` does not rely on that."""
    source = data_set(tmp_path / "pets")
    push(machine.address, source)
    flip(machine.home / TARGET / "train/cat/7.jpg")
    with Silent().progress("") as bar:
        copied = sync.push(machine.address, source, TARGET, bar, checksum=checksum)
    assert (copied.files, copied.bytes) == (1, 20_000)
    assert content(machine.home / TARGET) == content(source)


@pytest.mark.parametrize("damage", CACHES)
def test_a_damaged_cache_is_made_anew(machine: Machine, tmp_path: Path, damage: str) -> None:
    source = data_set(tmp_path / "pets")
    push(machine.address, source)
    (there,) = machine.home.glob("gpu/data/.pets.manifest")
    (here,) = Path(os.environ["GPU_HOME"]).glob("cache/trees/*")
    flip(machine.home / TARGET / "train/cat/7.jpg")
    for cache in (there, here):
        CACHES[damage](cache)
    assert push(machine.address, source).files == 1
    assert content(machine.home / TARGET) == content(source)
    assert push(machine.address, source).files == 0
