"""Where a copy arrives: a folder beside its target, out of which whole, verified files are renamed into place.

Standard library only, Python 3.8 or newer: this runs at both ends of a copy.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator

from .exclusion import PATIENCE_SECONDS, held
from .sender import HEADER, SMALL_HEADER, WHOLE
from .statcache import Identity, StatCache, identity
from .tree import FILE, PIECE, Manifest, Tree, check_name


class Refused(Exception):
    """What arrives is not what was agreed on."""


@contextlib.contextmanager
def locked(target: bytes, seconds: float = PATIENCE_SECONDS, *, joining: bool = False) -> Iterator[Staging]:
    """The target's staging area; Occupied when another copy still has it after so many seconds.

    `joining`: beside the one who has it and shares it.
    """
    with held(target, seconds, joining=joining) as hold:
        staging = Staging(os.path.realpath(target), os.path.join(hold.folder, b"tree"))
        staging.share = hold.share
        try:
            yield staging
        finally:
            staging.close()


class _Open:
    """A file that is arriving: `left` bytes of it are still to come."""

    def __init__(self, descriptor: int, name: bytes, mtime_ns: int, left: int) -> None:
        self.descriptor, self.name, self.mtime_ns, self.left = descriptor, name, mtime_ns, left
        self.whole = hashlib.sha256()


class Staging:
    def __init__(self, target: bytes, tree: bytes) -> None:
        self.target, self.tree = target, tree
        self.verified: dict[bytes, bytes] = {}
        """Files that are whole in here, with their digests."""
        self.share: Callable[[], None] = lambda: None
        """Let others join; they put files in here too, and `keep` says which."""
        self._others: set[bytes] = set()
        self._folders: set[tuple[bytes, bytes]] = set()
        self._open: dict[int, _Open] = {}
        self._identities: dict[bytes, Identity] = {}
        # In here is nothing but what this copy has put here.
        self._clean = not os.path.lexists(tree)

    def contents(self, beat: Callable[[], None]) -> Manifest:
        """What an interrupted copy has left, read anew; a file may be the beginning of one."""
        left = Tree(self.tree, StatCache(b""))
        left.look(beat)
        left.complete(beat)
        return {name: entry for name, entry in left.entries.items() if entry.kind == FILE and entry.digest}

    def keep(self, name: bytes, digest: bytes) -> None:
        """A file that came another way, as in an earlier copy, is wanted as it is."""
        self._clean = False
        self.verified[check_name(name)] = digest

    def check(self, name: bytes, digest: bytes, beat: Callable[[], None]) -> bool:
        """Whether a file that came another way is what it should be; then it is kept."""
        self._clean = False
        found = self.contents_of(check_name(name), beat)
        if found == digest:
            self.keep(name, digest)
        return found == digest

    def contents_of(self, name: bytes, beat: Callable[[], None]) -> bytes:
        one = Tree(self.tree, StatCache(b""))
        one.refresh(name)
        return one.digest(name, beat) if name in one.entries else b""

    def small(self, payload: memoryview) -> tuple[bytes, bool]:
        """A whole file in one piece: its name, and whether it is what its digest says."""
        mtime_ns, length, digest = SMALL_HEADER.unpack_from(payload)
        start = SMALL_HEADER.size + length
        name, content = check_name(bytes(payload[SMALL_HEADER.size : start])), payload[start:]
        self.verified.pop(name, None)
        if hashlib.sha256(content).digest() != digest:
            return name, False
        descriptor = self._create(name, keep=False)
        try:
            _write(descriptor, content)
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
            self._identities[name] = identity(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        self.verified[name] = digest
        return name, True

    def begin(self, header: bytes, lane: int = 0) -> None:
        """A file comes; its bytes follow from the offset on. `lane`: each connection may bring one at a time."""
        mtime_ns, size, offset = HEADER.unpack_from(header)
        name = check_name(header[HEADER.size :])
        if lane in self._open or not 0 <= offset <= size:
            raise Refused(f"a file out of turn: {name!r}")
        self.verified.pop(name, None)
        descriptor = self._create(name, keep=offset > 0)
        self._open[lane] = _Open(descriptor, name, mtime_ns, size - offset)
        self._open[lane].whole = _hash_start(descriptor, offset)

    def _create(self, name: bytes, *, keep: bool) -> int:
        path = self._place(self.tree, name)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if keep else os.O_TRUNC)
        try:
            return os.open(path, flags, 0o666)
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.ELOOP):
                raise
        # An earlier copy has left something else under this name.
        _remove(path)
        return os.open(path, flags, 0o666)

    def data(self, piece: memoryview, lane: int = 0) -> None:
        file = self._open.get(lane)
        if file is None or len(piece) > file.left:
            raise Refused("more bytes than were announced")
        _write(file.descriptor, piece)
        file.whole.update(piece)
        file.left -= len(piece)

    def end(self, payload: bytes, lane: int = 0) -> tuple[bytes, bool]:
        """The file's name, and whether it is whole; what is not is taken away."""
        file = self._open.pop(lane, None)
        if file is None:
            raise Refused("an end without a file")
        good = file.left == 0 and payload == WHOLE + file.whole.digest()
        if good:
            os.utime(file.descriptor, ns=(file.mtime_ns, file.mtime_ns))
            self.verified[file.name] = file.whole.digest()
            self._identities[file.name] = identity(os.fstat(file.descriptor))
        os.close(file.descriptor)
        if not good:
            self.drop([file.name])
        return file.name, good

    def link(self, name: bytes, text: bytes) -> None:
        path = self._place(self.tree, check_name(name))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.symlink(text, path)
        self._others.add(name)

    def folder(self, name: bytes) -> None:
        self._make_folder(self.tree, check_name(name))
        self._others.add(name)

    def drop(self, names: Iterable[bytes]) -> None:
        for name in names:
            self._clean = False
            self.verified.pop(name, None)
            _remove(self._place(self.tree, check_name(name)))

    def publish(self, removals: Iterable[bytes], published: Tree) -> int:
        """Rename all that is whole into place, take away what is gone; returns how many files are new.

        Nothing partial is left behind. `published` then knows what is there.
        """
        if self._open:
            raise Refused("a file without an end")
        gone = sorted((check_name(name) for name in removals), reverse=True)
        for name in gone:
            if self._is_inside(self.target, name):
                _remove(os.path.join(self.target, name))
                published.entries.pop(name, None)
        os.makedirs(self.tree, exist_ok=True)
        if os.path.lexists(self.target):
            self._publish_each()
            shutil.rmtree(self.tree)
            self._identities.clear()
        else:
            if not self._clean:
                self._clear_rest()
            os.rename(self.tree, self.target)
        for name, digest in self.verified.items():
            # A file that was renamed itself has another ctime since.
            published.received(name, digest, self._identities.get(name))
        for name in self._others:
            published.refresh(name)
        published.save()
        return len(self.verified)

    def clear(self) -> None:
        """Nothing of an interrupted copy is of use any more."""
        shutil.rmtree(self.tree, ignore_errors=True)

    def close(self) -> None:
        """The beginning of a file stays, to be gone on with."""
        while self._open:
            os.close(self._open.popitem()[1].descriptor)

    def _publish_each(self) -> None:
        self._folders.clear()
        for name in sorted(self._others):
            source = os.path.join(self.tree, name)
            if os.path.islink(source):
                os.replace(source, self._place(self.target, name))
            else:
                self._make_folder(self.target, name)
        for name in self.verified:
            os.replace(os.path.join(self.tree, name), self._place(self.target, name))

    def _clear_rest(self) -> None:
        """Out of the folder that becomes the target: whatever is not part of it."""
        wanted = set(self.verified) | self._others
        for name in list(wanted):
            while name := os.path.dirname(name):
                wanted.add(name)
        rest = Tree(self.tree, StatCache(b""))
        rest.look()
        for name in sorted({*rest.entries, *rest.left} - wanted, reverse=True):
            _remove(os.path.join(self.tree, name))

    def _place(self, root: bytes, name: bytes) -> bytes:
        """The path of a name, its folders made."""
        folder = name.rpartition(b"/")[0]
        if (root, folder) not in self._folders:
            self._make_folder(root, folder)
        return root + b"/" + name

    def _make_folder(self, root: bytes, name: bytes) -> None:
        """A real folder, and so are all above it: a link, or a file, in its place is taken away."""
        if (root, name) in self._folders:
            return
        path = os.path.join(root, name) if name else root
        if name:
            self._make_folder(root, os.path.dirname(name))
        else:
            os.makedirs(os.path.dirname(root), exist_ok=True)
        try:
            os.mkdir(path)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
                os.mkdir(path)
        self._folders.add((root, name))

    @staticmethod
    def _is_inside(root: bytes, name: bytes) -> bool:
        """Whether no link stands between the folder and the name."""
        while name := os.path.dirname(name):
            if os.path.islink(os.path.join(root, name)):
                return False
        return True


def _write(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _hash_start(descriptor: int, offset: int) -> hashlib._Hash:
    """Of the first bytes of a file that is to be gone on with, which ends there from now on."""
    whole, left = hashlib.sha256(), offset
    while left:
        piece = os.read(descriptor, min(PIECE, left))
        if not piece:
            raise Refused("a file that was to be gone on with is shorter by now")
        whole.update(piece)
        left -= len(piece)
    if offset:
        os.ftruncate(descriptor, offset)
    return whole


def _remove(path: bytes) -> None:
    """A file, a link, or a folder with all that is in it; nothing where there is none."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return
