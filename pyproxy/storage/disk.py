"""Every file-system call of the store, and the one translation of what goes wrong there.

Nothing else in `storage/` calls the operating system for a file of the store, so a test can let the k-th call
fail (`fault`) or the process die at a named point (failpoints.py).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeAlias, TypeVar

from pyproxy.errors import StoreFull, StoreTrouble
from pyproxy.model import Sha256
from pyproxy.storage.failpoints import Failpoints

P = ParamSpec("P")
T = TypeVar("T")

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The errors that mean: no room."""

PRIVATE_DIR: Final = 0o700
PRIVATE_FILE: Final = 0o600

_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_HASH_CHUNK: Final = 1 << 20

Where: TypeAlias = Path | str
"""A path; a plain string where it is made for every request: composing a Path takes 5 µs."""

Fault = Callable[[str], None]
"""Called with the name of each operation before it is done; raises OSError to let it fail."""


class Disk:
    """The files below one root. Every method raises StoreFull or StoreTrouble, worded without the root's own path."""

    def __init__(self, root: Path, *, fault: Fault | None = None, failpoints: Failpoints | None = None) -> None:
        self.root = root
        self.failpoints = failpoints or Failpoints()
        self._fault = fault

    def point(self, name: str, path: Where) -> None:
        """A place at which a test may let us die or fail."""
        try:
            self.failpoints.passing(name)
        except OSError as exc:
            raise trouble(exc, f"{name} {self.shown(path)}") from exc

    def before(self, what: str) -> None:
        """Tells the fault hook of work that is done elsewhere, in LMDB. Raises OSError where a test wants it so."""
        if self._fault is not None:
            self._fault(what)

    # ------------------------------------------------------------------ folders

    def make_dir(self, path: Where) -> bool:
        """Makes one folder, 0700. False where it is there already."""
        try:
            self._do("create", path, os.mkdir, path, PRIVATE_DIR)
        except StoreTrouble as exc:
            if isinstance(exc.__cause__, FileExistsError):
                return False
            raise
        return True

    def make_own_dir(self, path: Path) -> None:
        """A folder of the store, made unless it is there. A symbolic link in its place is refused."""
        self.make_dir(path)
        found = self.lstat(path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            kind = "a symbolic link" if found is not None and stat.S_ISLNK(found.st_mode) else "no folder"
            raise StoreTrouble(f"{self.shown(path)} is {kind}: the store wants a folder of its own there")

    def names(self, path: Path) -> list[str]:
        """What lies in a folder; nothing where there is no such folder."""
        return self._look("list", path, os.listdir, path) or []

    def sync_dir(self, path: Where) -> None:
        """Makes the names in a folder last."""
        fd = self._do("open", path, os.open, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._do("fsync", path, os.fsync, fd)
        finally:
            os.close(fd)

    def free(self, path: Path) -> int:
        """Bytes that an ordinary user may still write to the file system of `path`."""
        found = self._do("statvfs", path, os.statvfs, path)
        return found.f_bavail * found.f_frsize

    # ------------------------------------------------------------------ files

    def create(self, path: Path) -> int:
        """A new file, 0600, open for reading and writing. A file or link in its place is an error."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return self._do("create", path, os.open, path, flags, PRIVATE_FILE)

    def open_or_create(self, path: Path) -> int:
        """A file of the store open for reading and writing, made unless it is there."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return self._do("open", path, os.open, path, flags, PRIVATE_FILE)

    def open_read(self, path: Where) -> int | None:
        """A descriptor for reading, or None where there is no such file. A symbolic link is an error."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return self._look("open", path, os.open, path, flags)

    def write(self, fd: int, data: bytes | memoryview, path: Path) -> None:
        """All of the data at the descriptor's position, or an error."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._do("write", path, os.write, fd, rest) :]

    def read_all(self, path: Path, limit: int = 1 << 16) -> bytes | None:
        """A small file whole, or None where there is none."""
        fd = self.open_read(path)
        if fd is None:
            return None
        try:
            return self._do("read", path, os.pread, fd, limit, 0)
        finally:
            os.close(fd)

    def write_whole(self, path: Path, data: bytes) -> None:
        """A small file, whole or as it was before."""
        temp = path.with_name(f"{path.name}.new")
        self.unlink(temp)
        fd = self.create(temp)
        try:
            self.write(fd, data, temp)
            self.sync(fd, temp)
        finally:
            os.close(fd)
        self.rename(temp, path)

    def sync(self, fd: int, path: Path) -> None:
        """Makes the file's bytes last. After a failure the descriptor must not be synced again.

        The kernel marks the pages clean that it could not write, so a second fsync would lie.
        """
        self._do("fsync", path, os.fsync, fd)

    def sync_data(self, fd: int, path: Path) -> None:
        """The same, but the file may still grow: another sync makes the rest last, and the file's name."""
        self._do("fdatasync", path, os.fdatasync, fd)

    def truncate(self, fd: int, size: int, path: Path) -> None:
        self._do("truncate", path, os.ftruncate, fd, size)

    def rename(self, source: Where, target: Where) -> bool:
        """Moves a file over whatever is at the target. False where the source or the target's folder is not there."""
        return self._did("rename", source, os.rename, source, target)

    def unlink(self, path: Path) -> bool:
        """False where there was nothing."""
        return self._did("unlink", path, os.unlink, path)

    def remove_dir(self, path: Where) -> bool:
        """Takes away an empty folder. False where there was none."""
        return self._did("rmdir", path, os.rmdir, path)

    def lstat(self, path: Where) -> os.stat_result | None:
        """None where there is nothing."""
        return self._look("stat", path, os.lstat, path)

    def fstat(self, fd: int, path: Where) -> os.stat_result:
        return self._do("stat", path, os.fstat, fd)

    def try_lock(self, fd: int, path: Path) -> bool:
        """Takes the advisory lock on an open file without waiting; the kernel gives it back when the holder dies."""
        try:
            self._do("lock", path, fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except StoreTrouble as exc:
            if isinstance(exc.__cause__, BlockingIOError):
                return False
            raise
        return True

    def sha256(self, fd: int, path: Where) -> Sha256:
        """The digest of an open file's bytes. Blocking: about 1.5 GB/s from the page cache."""
        digest = hashlib.sha256()
        offset = 0
        while data := self._do("read", path, os.pread, fd, _HASH_CHUNK, offset):
            digest.update(data)
            offset += len(data)
        return Sha256(digest.hexdigest())

    # ------------------------------------------------------------------ errors

    def shown(self, path: Where) -> str:
        """The path as messages show it: relative to the store."""
        path = Path(path)
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else path.name

    def _do(self, what: str, path: Where, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            if self._fault is not None:
                self._fault(what)
            return call(*args, **kwargs)
        except OSError as exc:
            raise trouble(exc, f"cannot {what} {self.shown(path)}") from exc

    def _look(self, what: str, path: Where, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The same, but None where nothing is there."""
        try:
            if self._fault is not None:
                self._fault(what)
            return call(*args, **kwargs)
        except OSError as exc:
            if exc.errno in _ABSENT:
                return None
            raise trouble(exc, f"cannot {what} {self.shown(path)}") from exc

    def _did(self, what: str, path: Where, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
        """The same for what returns nothing; False where nothing is there."""

        def act() -> bool:
            call(*args, **kwargs)
            return True

        return self._look(what, path, act) or False


def trouble(exc: OSError, what: str) -> StoreTrouble:
    """The store's error for one of the operating system: StoreFull where there is no room."""
    reason = os.strerror(exc.errno) if exc.errno else type(exc).__name__
    return (StoreFull if exc.errno in FULL else StoreTrouble)(f"{what}: {reason}")
