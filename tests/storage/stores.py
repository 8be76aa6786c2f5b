"""Small stores for tests: how to fill one, and what must hold of it at any time."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyproxy.model import Filename, ProjectName, Sha256
from pyproxy.storage.environment import MAP_SIZE
from pyproxy.storage.records import FileRecord
from pyproxy.storage.store import Store, open_store, verify
from pyproxy.storage.temps import Temp

LIMIT = 1 << 20
PROJECT = ProjectName("shelf")


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder for hundreds of small stores, in memory where the system has such a place: an fsync costs nothing."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    with tempfile.TemporaryDirectory(prefix="pyproxy-", dir=shared if shared.is_dir() else None) as name:
        yield Path(name)


def digest_of(data: bytes) -> Sha256:
    return Sha256(hashlib.sha256(data).hexdigest())


def record_of(data: bytes, name: str = "shelf-1.0.tar.gz") -> FileRecord:
    return FileRecord(digest_of(data), len(data), PROJECT, Filename(name), 1_700_000_000.0, "sha256")


def written(store: Store, data: bytes) -> Temp:
    temp = store.blobs.temp()
    try:
        temp.write(data)
    except BaseException:
        temp.discard()
        raise
    return temp


async def put(store: Store, key: str, data: bytes) -> FileRecord:
    """What a download does: reserves, writes, keeps."""
    record = record_of(data)
    reservation = await store.cache.reserve(len(data))
    try:
        temp = written(store, data)
        try:
            await store.cache.keep(temp, key, record, reservation)
        finally:
            temp.discard()
    finally:
        reservation.release()
    return record


def got(store: Store, key: str) -> bytes | None:
    """What a request does: the file's bytes, or None where it is not held."""
    record = store.cache.find(key)
    if record is None:
        return None
    blob = store.cache.open(record)
    try:
        return os.pread(blob.fd, blob.size + 1, 0)
    finally:
        blob.close()


@contextmanager
def opened(
    path: Path,
    *,
    limit: int = LIMIT,
    exclusive: bool = True,
    map_size: int = MAP_SIZE,
    fault: Callable[[str], None] | None = None,
) -> Iterator[Store]:
    store = open_store(path, limit=limit, exclusive=exclusive, map_size=map_size, fault=fault, environment={})
    try:
        yield store
    finally:
        store.close()


def on_disk(path: Path) -> tuple[int, int]:
    """Bytes and number of the blob files, as `du` would find them."""
    sizes = [
        file.stat().st_size for file in (path / "cache" / "blobs").rglob("*") if file.is_file() and len(file.name) == 64
    ]
    return sum(sizes), len(sizes)


def temps(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "cache" / "tmp").iterdir())


def assert_sound(store: Store) -> None:
    """I1, I2, I6, I7: bytes as named, rows as files, the account exact, nothing left behind."""
    assert list(verify(store, mend=False)) == []
    assert (store.cache.bytes, store.cache.files) == on_disk(store.path)
    assert store.cache.bytes <= store.cache.limit
    assert store.cache.reserved == 0
    assert temps(store.path) == []


def reopened_soundly(path: Path, *, limit: int = LIMIT) -> dict[str, bytes]:
    """Opens the store as the next daemon would, lets it finish its recovery, and checks it; what it holds."""
    with opened(path, limit=limit) as store:
        asyncio.run(store.reconcile())
        assert_sound(store)
        held = {}
        for key in keys(store):
            data = got(store, key)
            assert data is not None
            held[key] = data
        return held


def keys(store: Store) -> list[str]:
    env = store.records.env
    with env.reading() as txn:
        return [key.decode() for key in txn.cursor(db=env.files).iternext(values=False)]


class Faults:
    """Counts the store's calls; lets the k-th fail, or all from the k-th on, or all of some kinds."""

    def __init__(self, error: int, *, at: int = 0, lasting: bool = False) -> None:
        self.calls: list[str] = []
        self.fired = False
        self._error = error
        self._at = at
        self._lasting = lasting
        self._kinds: tuple[str, ...] = ()

    def fail_next(self, count: int = 1) -> None:
        """The count-th call from now fails."""
        self._at = len(self.calls) + count

    def fail(self, *kinds: str) -> None:
        """Every call of these kinds fails, until `heal`."""
        self._kinds = kinds

    def heal(self) -> None:
        self._at, self._kinds = 0, ()

    def __call__(self, what: str) -> None:
        self.calls.append(what)
        number = len(self.calls)
        if what in self._kinds or (self._at and (number == self._at or (self._lasting and number > self._at))):
            self.fired = True
            raise OSError(self._error, os.strerror(self._error))
