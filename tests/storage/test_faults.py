"""Every call of the store fails once, and from then on: no wrong byte, no failed start, an exact account after it."""

from __future__ import annotations

import asyncio
import errno
import resource
from pathlib import Path

import pytest

from pyproxy.errors import BlobDamaged, StoreFull, StoreTrouble
from pyproxy.model import ProjectName, ProjectPage
from pyproxy.storage import recover
from pyproxy.storage.records import PageHead, pack_page
from pyproxy.storage.stock import Stock
from pyproxy.storage.store import Store, open_store
from tests.storage.child import child
from tests.storage.stores import Faults, digest_of, got, in_memory, on_disk, opened, put, reopened_soundly, temps

FILES = {f"public/{name}": name.encode() * 300 for name in "abcd"}
PROJECT = ProjectName("shelf")


async def workload(path: Path, faults: Faults) -> set[str]:
    """A bit of everything, each step for itself; the files that were kept for sure and not evicted."""
    kept: set[str] = set()
    try:
        store = open_store(path, limit=1000, exclusive=True, fault=faults, environment={})
    except StoreTrouble:
        return kept
    try:
        for key, data in FILES.items():
            if await did(put(store, key, data)):
                kept.add(key)
        looked(store)
        await did(store.records.put_page("public", PROJECT, PageHead("u"), pack_page(ProjectPage(PROJECT))))
        await did(store.cache.flush())
        await did(store.cache.drop("public/d"))
        if (record := store.cache.find("public/c")) is not None:
            await did(store.cache.mend(record))
        await did(store.cache.shrink())
        kept = {key for key in kept if store.cache.find(key) is not None}
        looked(store)
    finally:
        store.close()
    return kept


async def did(work: object) -> bool:
    try:
        await work  # type: ignore[misc]  # any awaitable, results of all types
    except StoreTrouble:
        return False
    return True


def looked(store: Store) -> None:
    for key, data in FILES.items():
        try:
            found = got(store, key)
        except StoreTrouble:
            continue
        assert found in {None, data}


@pytest.mark.parametrize(
    ("error", "lasting"), [(errno.EIO, False), (errno.ENOSPC, True)], ids=["EIO-once", "ENOSPC-from-then-on"]
)
def test_every_call__failing__leaves_a_store_that_opens_soundly(
    monkeypatch: pytest.MonkeyPatch, *, error: int, lasting: bool
) -> None:
    monkeypatch.setattr(recover, "index_damage", lambda *_: None)  # a child process for each k would take a minute
    at = 0
    while True:
        at += 1
        faults = Faults(error, at=at, lasting=lasting)
        with in_memory() as path:
            kept = asyncio.run(workload(path, faults))
            held = reopened_soundly(path, limit=1000)
        assert kept <= held.keys(), f"call {at}: {faults.calls[at - 1]}"
        assert all(FILES[key] == data for key, data in held.items())
        if not faults.fired:
            break
    assert at > 100


async def test_after_a_fault__the_next_request__succeeds_without_a_restart(tmp_path: Path) -> None:
    faults = Faults(errno.ENOSPC)
    with opened(tmp_path, fault=faults) as store:
        faults.fail("write")
        with pytest.raises(StoreFull):
            await put(store, "public/a", b"data")
        faults.heal()
        await put(store, "public/a", b"data")
        assert got(store, "public/a") == b"data"
        assert store.cache.reserved == 0
        assert temps(tmp_path) == []


async def test_keep__commit_failing__takes_the_blob_away_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, "")

    faults = Faults(errno.EIO)
    with opened(tmp_path, fault=faults) as store:
        await put(store, "public/a", b"first")
        commits = faults.calls.count("commit")
        await put(store, "public/b", b"second")
        assert faults.calls.count("commit") == commits + 1
        monkeypatch.setattr(Stock, "_commit", refused)
        with pytest.raises(StoreTrouble, match="No space left"):
            await put(store, "public/c", b"third")
        assert not store.blobs.path(digest_of(b"third")).exists()
        assert store.cache.bytes == 11 == on_disk(tmp_path)[0]
        assert not store.cache.stock.untidy


async def test_eviction__file_that_cannot_be_moved__is_found_by_the_next_start(tmp_path: Path) -> None:
    faults = Faults(errno.EACCES)
    with opened(tmp_path, limit=1000, fault=faults) as store:
        await put(store, "public/a", b"a" * 900)
        faults.fail("rename")
        (await store.cache.reserve(500)).release()
        faults.heal()
        assert store.cache.find("public/a") is None
        assert (store.cache.bytes, on_disk(tmp_path)[0]) == (0, 900)
        assert store.cache.stock.untidy
    held = await asyncio.to_thread(reopened_soundly, tmp_path, limit=1000)
    assert held == {}
    with opened(tmp_path, limit=1000) as store:
        assert store.cache.holds(digest_of(b"a" * 900)) == 900


def test_file_size_limit__file_and_index__are_refused_and_recover_without_a_restart(tmp_path: Path) -> None:
    """What a full disk does, by RLIMIT_FSIZE: the kernel answers EFBIG."""
    done = child("limited", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("file: cannot write cache/tmp/")
    assert lines[0].endswith(": File too large")
    assert lines[1].startswith("index: cannot write the index: ")
    assert lines[2:] == ["read: b'small'", "later: None 300005"]
    assert len(reopened_soundly(tmp_path, limit=1 << 30)) == 2


async def test_descriptors_used_up__open_is_trouble_and_no_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        record = await put(store, "public/a", b"data")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            with pytest.raises(StoreTrouble, match="Too many open files") as caught:
                store.cache.open(record)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert not isinstance(caught.value, BlobDamaged)
        assert got(store, "public/a") == b"data"
