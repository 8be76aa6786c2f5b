from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyproxy.errors import StoreTrouble
from pyproxy.model import ProjectName, ProjectPage, Sha256
from pyproxy.storage.audit import YOUNG
from pyproxy.storage.environment import Table
from pyproxy.storage.records import DocRecord, PageHead, pack_page
from pyproxy.storage.rows import BlobRow, Total, pack
from pyproxy.storage.store import Finding, Store, gc, open_store, status, verify
from tests.storage.stores import PROJECT, assert_sound, digest_of, got, on_disk, opened, put, record_of

PAGE = pack_page(ProjectPage(PROJECT))
DOC = DocRecord(b"{}", "application/json", None, None, 1.0, "u")


@pytest.fixture
async def store(tmp_path: Path) -> Iterator[Store]:  # type: ignore[misc]  # an async generator to pytest-asyncio
    with opened(tmp_path) as made:
        for name in "abc":
            await put(made, f"public/{name}", name.encode() * 100)
        await put(made, "public/a2", b"a" * 100)
        for remote in ("public", "torch"):
            for project in ("one", "two"):
                await made.records.put_page(remote, ProjectName(project), PageHead("u"), PAGE)
        await made.records.put_page("torch", ProjectName("three"), PageHead("u"), PAGE)
        await made.records.put_doc("public", "json", "x", DOC)
        yield made


def row(store: Store, table: Table, key: bytes, value: bytes | None) -> None:
    """Writes (or with None deletes) a row behind the ledger's back."""
    writer = store.records.writer
    if value is None:
        writer.call(lambda txn: txn.delete(key, db=table))
    else:
        writer.call(lambda txn: txn.put(key, value, db=table))


# ---------------------------------------------------------------------- status and gc


async def test_status__filled__counts_what_is_there(store: Store) -> None:
    told = status(store)
    assert (told.bytes, told.blobs, told.files, told.documents) == (300, 3, 4, 1)
    assert told.pages == {"public": 2, "torch": 3}
    assert told.daemon == os.getpid()
    assert told.oldest_use is not None
    assert told.newest_use is not None
    assert time.time() - 60 < told.oldest_use < told.newest_use < time.time() + 60
    assert 0 < told.index_bytes < told.index_limit


def test_status__empty_and_without_a_daemon__says_so(tmp_path: Path) -> None:
    with opened(tmp_path, exclusive=False) as store:
        told = status(store)
    assert (told.daemon, told.oldest_use, told.newest_use, told.bytes, dict(told.pages)) == (None, None, None, 0, {})


async def test_gc__limit_lowered__evicts_down_to_it_and_sweeps(store: Store) -> None:
    (store.blobs.tmp / f"1.{'0' * 32}").touch()
    assert gc(store) == 0
    store.cache.limit = 250
    assert gc(store) == 100
    # "a" was stored first, but stored again under another link last.
    assert [store.cache.find(f"public/{name}") is None for name in "abc"] == [False, True, False]
    assert_sound(store)


async def test_gc__uses_noted_in_memory__are_heeded(store: Store) -> None:
    got(store, "public/b")
    store.cache.limit = 200
    gc(store)
    assert store.cache.find("public/b") is not None
    assert store.cache.find("public/c") is None


# ---------------------------------------------------------------------- verify


async def test_verify__sound__finds_nothing(store: Store) -> None:
    assert list(verify(store)) == []


@pytest.mark.parametrize("damage", ["missing", "cut", "altered", "touched", "orphan"])
async def test_verify__file_and_row_apart__is_found_left_and_then_mended(store: Store, damage: str) -> None:
    digest = digest_of(b"b" * 100)
    path = store.blobs.path(digest)
    match damage:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(b"b" * 99)
        case "altered":
            found = path.stat()
            path.write_bytes(b"b" * 99 + b"B")
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))  # a bit that flipped by itself
        case "touched":
            os.utime(path, (1, 1))
        case _:
            row(store, store.records.env.blobs, bytes.fromhex(digest), None)
    found_kinds = {finding.kind for finding in verify(store, mend=False)}
    assert damage in found_kinds
    assert all(finding.mended for finding in verify(store, mend=True))
    assert list(verify(store)) == []
    assert (store.cache.bytes, store.cache.files) == on_disk(store.path)
    assert (store.cache.find("public/b") is not None) == (damage == "touched")
    assert got(store, "public/c") == b"c" * 100


DIGEST_A, DIGEST_B = (bytes.fromhex(digest_of(data)) for data in (b"a" * 100, b"b" * 100))


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("blobs", bytes(32), BlobRow(5, 5, 5).pack()),
        ("lru", DIGEST_A, None),
        ("lru", bytes(8) + DIGEST_A, b""),
        ("lru", bytes(40), b""),
        ("files", b"public/a", None),
        ("files", b"public/a", b"\xc1"),
        ("files", b"public/new", pack(record_of(b"a" * 100))),
        ("files", b"public/dangling", pack(record_of(b"nowhere"))),
        ("keys", DIGEST_A, None),
        ("keys", DIGEST_A, b"public/b"),
        ("keys", bytes(32), b"public/b"),
        ("meta", b"total", Total(1, 1).pack()),
        ("meta", b"total", None),
        ("heads", b"public\0one", None),
        ("heads", b"public\0one", b"\xc1"),
        ("bodies", b"public\0one", None),
        ("bodies", b"public\0one", b"no page"),
        ("docs", b"public\0json\0x", b"\xc1"),
    ],
)
async def test_verify__rows_that_contradict__are_found_left_and_then_mended(
    store: Store, table: str, key: bytes, value: bytes | None
) -> None:
    env = store.records.env
    if table == "lru" and key == DIGEST_A:
        blob = store.records.blob(Sha256(key.hex()))
        assert blob is not None
        key = blob.lru_key(Sha256(key.hex()))
    row(store, getattr(env, table), key, value)
    assert list(verify(store, mend=False)) != []
    first = list(verify(store, mend=False))
    assert first == list(verify(store, mend=False))
    assert all(finding.mended for finding in verify(store, mend=True))
    assert list(verify(store)) == []
    assert (store.cache.bytes, store.cache.files) == on_disk(store.path)


async def test_verify__beside_a_daemon__leaves_young_blobs_without_a_row_to_whoever_stores_them(store: Store) -> None:
    digest = digest_of(b"under way")
    temp = store.blobs.temp()
    temp.write(b"under way")
    store.blobs.adopt(temp, digest)
    temp.moved()
    store.audit._alone = False
    assert list(verify(store)) == []
    old = time.time() - YOUNG - 1
    os.utime(store.blobs.path(digest), (old, old))
    assert [finding.kind for finding in verify(store)] == ["orphan"]
    assert store.cache.holds(digest) == 9


def test_finding__printed__is_one_line() -> None:
    finding = Finding("cut", "abc", "3 bytes, recorded as 4", mended=True)
    assert str(finding) == "cut abc: 3 bytes, recorded as 4 (mended)"


# ---------------------------------------------------------------------- closing


def test_close__twice__is_once(tmp_path: Path) -> None:
    store = open_store(tmp_path, limit=1, exclusive=True, environment={})
    store.close()
    store.close()
    with pytest.raises(StoreTrouble):
        status(store)
    open_store(tmp_path, limit=1, exclusive=True, environment={}).close()
