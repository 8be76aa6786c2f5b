"""The LMDB environment: how it is opened, its tables, short reads, and LMDB's errors in our words.

LMDB forbids two opens of one environment in a process, and an environment across a fork: workers are spawned
and open it for themselves.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeAlias, TypeVar

import lmdb

from pyproxy.errors import StoreFull, StoreTrouble
from pyproxy.storage.disk import FULL

P = ParamSpec("P")
T = TypeVar("T")

Txn: TypeAlias = "lmdb.Transaction[bytes]"
Table: TypeAlias = "lmdb._Database"  # noqa: SLF001 - LMDB gives its tables' type no public name

MAP_SIZE: Final = 16 << 30
"""Bytes the index may grow to. The file is sparse and the map is address space only; it is never resized, because
a resize by one process under another has corrupted data."""

MAX_READERS: Final = 1024
DATA_FILE: Final = "data.mdb"

DAMAGED: Final = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.CursorFullError,
)
"""What LMDB raises for a file that is not what it wrote."""

_MAX_DBS: Final = 32
_SPARE_TXNS: Final = 4


class Environment:
    """An open index and its tables. Reads are inline: a transaction with one get takes about a microsecond."""

    def __init__(self, path: Path, *, map_size: int = MAP_SIZE) -> None:
        """Raises StoreTrouble; IndexDamaged where the file is none of LMDB's."""
        self.path = path
        try:
            self._env = lmdb.open(
                os.fspath(path),
                map_size=map_size,
                max_dbs=_MAX_DBS,
                max_readers=MAX_READERS,
                max_spare_txns=_SPARE_TXNS,
                # A power cut may undo the last commit, which is only ever about what can be fetched again; but never
                # sync=False, which may corrupt, nor writemap, which makes a full disk a SIGBUS.
                metasync=False,
                mode=0o600,
            )
            self._env.reader_check()
            with self._env.begin(write=True) as txn:
                self.meta = self._env.open_db(b"meta", txn)
                self.heads = self._env.open_db(b"heads", txn)
                self.bodies = self._env.open_db(b"bodies", txn)
                self.docs = self._env.open_db(b"docs", txn)
                self.learned = self._env.open_db(b"learned", txn)
                self.files = self._env.open_db(b"files", txn)
                self.blobs = self._env.open_db(b"blobs", txn)
                self.lru = self._env.open_db(b"lru", txn)
                self.keys = self._env.open_db(b"keys", txn, dupsort=True)
        except DAMAGED as exc:
            raise IndexDamaged(_reason(exc)) from exc
        except lmdb.Error as exc:
            raise lmdb_trouble(exc, "cannot open the index") from exc

    def reading(self) -> Txn:
        """A read transaction, for a `with` block that awaits nothing. Raises lmdb.Error."""
        try:
            return self._env.begin()
        except lmdb.ReadersFullError:
            # Slots of killed readers are given back by nobody else.
            self._env.reader_check()
            return self._env.begin()

    def writing(self) -> Txn:
        """The write transaction, of which there is one at a time over all processes. For the writer thread alone."""
        return self._env.begin(write=True)

    def reader_check(self) -> int:
        """Frees the slots of readers that died; how many there were."""
        return self._env.reader_check()

    def used(self) -> tuple[int, int]:
        """Bytes of the map that hold pages or have held them, and the size of the map."""
        info = self._env.info()
        return (info["last_pgno"] + 1) * self._env.stat()["psize"], info["map_size"]

    def close(self) -> None:
        self._env.close()


class IndexDamaged(StoreTrouble):
    """The index is not what LMDB wrote; everything in it can be fetched again."""


def lmdb_trouble(exc: lmdb.Error, what: str) -> StoreTrouble:
    """The store's error for one of LMDB's."""
    full = isinstance(exc, lmdb.MapFullError) or _code(exc) in FULL
    return (StoreFull if full else StoreTrouble)(f"{what}: {_reason(exc)}")


def _reason(exc: lmdb.Error) -> str:
    if isinstance(exc, lmdb.MapFullError):
        return "the index is full"
    code = _code(exc)
    return os.strerror(code) if code in errno.errorcode else type(exc).__name__


def _code(exc: lmdb.Error) -> int:
    # Set where LMDB itself raised it; older bindings never set it.
    return getattr(exc, "code", 0)


def translated(call: Callable[P, T]) -> Callable[P, T]:
    """A reader of the index that raises StoreTrouble for LMDB's errors."""

    @functools.wraps(call)
    def reading(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except lmdb.Error as exc:
            raise lmdb_trouble(exc, "cannot read the index") from exc

    return reading
