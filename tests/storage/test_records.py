from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.errors import BlobDamaged, StoreFull, StoreTrouble
from pyproxy.model import File, Filename, ProjectName, ProjectPage, Sha256
from pyproxy.storage.records import DocRecord, PageHead, Records, file_key, pack_page, unpack_page
from pyproxy.storage.rows import MAX_KEY, doc_key, key_bytes, page_key
from pyproxy.storage.store import Store
from tests.storage.stores import PROJECT, opened, put, record_of

HEAD = PageHead("https://index.example/simple/", '"etag"', None, 1000.0)
PAGE = ProjectPage(
    PROJECT,
    (
        File(
            Filename("shelf-1.0-py3-none-any.whl"),
            "https://index.example/shelf-1.0-py3-none-any.whl",
            "public/shelf-1.0-py3-none-any.whl",
            {"sha256": "a" * 64},
            yanked="broken",
            core_metadata={"sha256": "b" * 64},
            size=10,
        ),
    ),
    versions=("1.0",),
    status="archived",
)
DOC = DocRecord(b"{}", "application/json", '"e"', None, 1000.0, "https://index.example/doc")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "data") as made:
        yield made


@pytest.fixture
def records(store: Store) -> Records:
    return store.records


# ---------------------------------------------------------------------- pages


def test_page__packed__comes_back_equal() -> None:
    assert unpack_page(pack_page(PAGE)) == PAGE


@given(st.binary(max_size=200))
def test_unpack_page__any_bytes__is_a_page_or_damage(data: bytes) -> None:
    with pytest.raises(BlobDamaged):
        unpack_page(data)


@given(st.data())
def test_unpack_page__one_byte_changed__is_never_another_page(data: st.DataObject) -> None:
    packed = bytearray(pack_page(PAGE))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    try:
        assert unpack_page(bytes(packed)) == PAGE
    except BlobDamaged:
        return


async def test_page__unknown__is_none(records: Records) -> None:
    assert records.page_head("public", PROJECT) is None
    assert records.page_body("public", PROJECT) is None
    assert records.page("public", PROJECT) is None


async def test_page__stored__is_read_back_also_after_a_restart(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        stored = await store.records.put_page("public", PROJECT, HEAD, pack_page(PAGE))
    with opened(tmp_path) as store:
        assert store.records.page_head("public", PROJECT) == stored
        assert store.records.page_body("public", PROJECT) == pack_page(PAGE)
        assert store.records.page("public", PROJECT) == (stored, pack_page(PAGE))
        assert store.records.page("other", PROJECT) is None


async def test_page__confirmed__gets_the_new_head_and_keeps_body_and_version(records: Records) -> None:
    first = await records.put_page("public", PROJECT, HEAD, b"body")
    assert first is not None
    later = msgspec.structs.replace(first, fetched_at=2000.0, etag='"new"')
    assert await records.put_page("public", PROJECT, later, None) == later
    assert records.page("public", PROJECT) == (later, b"body")


async def test_page__confirmed_without_a_version__is_the_stored_one(records: Records) -> None:
    first = await records.put_page("public", PROJECT, HEAD, b"body")
    assert first is not None
    second = await records.put_page("public", PROJECT, msgspec.structs.replace(HEAD, fetched_at=2000.0), None)
    assert second == msgspec.structs.replace(first, fetched_at=2000.0)


async def test_page__another_body_stored_since__is_not_confirmed(records: Records) -> None:
    first = await records.put_page("public", PROJECT, HEAD, b"body")
    second = await records.put_page("public", PROJECT, HEAD, b"newer body")
    assert first is not None
    assert second is not None
    assert second.version > first.version
    assert await records.put_page("public", PROJECT, msgspec.structs.replace(first, etag='"first"'), None) == second
    assert records.page("public", PROJECT) == (second, b"newer body")


async def test_page__confirmed_but_gone__is_none_and_stays_absent(records: Records) -> None:
    assert await records.put_page("public", PROJECT, HEAD, None) is None
    assert records.page_head("public", PROJECT) is None


async def test_page__same_body_again__keeps_its_version(records: Records) -> None:
    first = await records.put_page("public", PROJECT, HEAD, b"body")
    second = await records.put_page("public", PROJECT, msgspec.structs.replace(HEAD, etag=None), b"body")
    assert first is not None
    assert second == msgspec.structs.replace(first, etag=None)


async def test_page__dropped_and_stored_again__has_a_version_never_used(records: Records) -> None:
    first = await records.put_page("public", PROJECT, HEAD, b"body")
    await records.drop_page("public", PROJECT)
    assert records.page("public", PROJECT) is None
    again = await records.put_page("public", PROJECT, HEAD, b"body")
    assert first is not None
    assert again is not None
    assert again.version > first.version


async def test_page__unreadable_head__counts_as_absent(records: Records) -> None:
    await records.writer.write(lambda txn: txn.put(page_key("public", PROJECT), b"\xc1junk", db=records.env.heads))
    assert records.page_head("public", PROJECT) is None


# ---------------------------------------------------------------------- keys


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), min_size=2, max_size=2, unique=True))
def test_doc_key__different_documents__have_different_keys_that_lmdb_takes(
    documents: list[tuple[str, str, str]],
) -> None:
    if any("\0" in remote + kind for remote, kind, _ in documents):
        return  # neither a remote nor a kind has one
    first, second = (doc_key(*document) for document in documents)
    assert first != second
    assert 0 < len(first) <= MAX_KEY


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=())), min_size=2, max_size=2, unique=True))
def test_key_bytes__different_texts_lone_surrogates_too__have_different_keys(texts: list[str]) -> None:
    first, second = map(key_bytes, texts)
    assert first != second
    assert 0 < len(first) <= MAX_KEY


def test_key_bytes__too_long__is_hashed() -> None:
    assert len(key_bytes("x" * 511)) == 511
    assert len(key_bytes("x" * 512)) == 33
    assert key_bytes("x" * 512) != key_bytes("x" * 513)


def test_file_key__own_host_and_another__are_told_apart() -> None:
    assert file_key("public", "", "/packages/a.whl") == "public/packages/a.whl"
    assert file_key("public", "", "packages/a.whl") == "public/packages/a.whl"
    assert file_key("public", "cdn.example:8080", "/a.whl") == "public~cdn.example:8080/a.whl"


async def test_page__remote_and_project_of_any_length__is_stored(records: Records) -> None:
    remote, project = "r" * 1000, ProjectName("p" * 250)
    await records.put_page(remote, project, HEAD, b"body")
    assert records.page_body(remote, project) == b"body"
    assert records.page_body("r" * 1001, project) is None


# ---------------------------------------------------------------------- files, metadata, documents


async def test_put_file__blob_not_held__is_refused(store: Store) -> None:
    assert not await store.records.put_file("public/a", record_of(b"x"))
    assert store.records.file("public/a") is None
    await put(store, "public/a", b"x")
    assert await store.records.put_file("public/b", record_of(b"x"))
    assert store.records.file("public/b") == record_of(b"x")


async def test_put_file__key_now_of_another_blob__leaves_the_first_to_no_file(store: Store) -> None:
    await put(store, "public/a", b"one")
    await put(store, "public/b", b"two")
    assert await store.records.put_file("public/a", record_of(b"two"))
    await store.cache.drop("public/b")
    assert store.records.file("public/a") == record_of(b"two")
    assert store.cache.holds(record_of(b"one").digest) == 3


async def test_learned__nothing__is_version_zero(records: Records) -> None:
    learned = records.learned("public", PROJECT)
    assert (learned.version, learned.digests) == (0, {})


async def test_learned__findings__are_those_of_the_project_alone(records: Records) -> None:
    wheel, other = Filename("shelf-1.0-py3-none-any.whl"), Filename("shelf-2.0-py3-none-any.whl")
    await records.learn("public", PROJECT, wheel, Sha256("a" * 64))
    first = records.learned("public", PROJECT)
    await records.learn("public", PROJECT, other, Sha256("b" * 64))
    await records.learn("public", ProjectName("other"), wheel, Sha256("c" * 64))
    await records.learn("torch", PROJECT, wheel, Sha256("d" * 64))
    second = records.learned("public", PROJECT)
    assert 0 < first.version < second.version
    assert second.digests == {wheel: "a" * 64, other: "b" * 64}


async def test_learned__the_same_again__keeps_the_version_and_another_digest_replaces(records: Records) -> None:
    wheel = Filename("shelf-1.0-py3-none-any.whl")
    await records.learn("public", PROJECT, wheel, Sha256("a" * 64))
    before = records.learned("public", PROJECT).version
    await records.learn("public", PROJECT, wheel, Sha256("a" * 64))
    assert records.learned("public", PROJECT).version == before
    await records.learn("public", PROJECT, wheel, Sha256("b" * 64))
    assert records.learned("public", PROJECT).version > before
    assert records.learned("public", PROJECT).digests == {wheel: "b" * 64}


async def test_doc__stored_replaced_dropped__is_what_was_stored_last(records: Records) -> None:
    assert records.doc("public", "json", "") is None
    await records.put_doc("public", "json", "", DOC)
    assert records.doc("public", "json", "") == DOC
    newer = msgspec.structs.replace(DOC, body=b"[]")
    await records.put_doc("public", "json", "", newer)
    assert records.doc("public", "json", "") == newer
    assert records.doc("public", "provenance", "") is None
    await records.drop_doc("public", "json", "")
    assert records.doc("public", "json", "") is None


async def test_closed__read_and_write__is_trouble(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        records = store.records
    with pytest.raises(StoreTrouble):
        records.page_head("public", PROJECT)
    with pytest.raises(StoreTrouble):
        await records.put_page("public", PROJECT, HEAD, b"x")


# ---------------------------------------------------------------------- a full index


async def test_map_full__pages_and_documents__the_oldest_go_and_the_newest_stay(tmp_path: Path) -> None:
    body = bytes(range(256)) * 16
    with opened(tmp_path, map_size=1 << 20) as store:
        await put(store, "public/file", b"data")
        for at in range(600):
            name = ProjectName(f"p{at}")
            if at % 3:
                await store.records.put_page("public", name, msgspec.structs.replace(HEAD, fetched_at=float(at)), body)
            else:
                await store.records.put_doc(
                    "public", "json", name, msgspec.structs.replace(DOC, body=body, fetched_at=float(at))
                )
        records = store.records
        kept = [
            at
            for at in range(600)
            if records.page("public", ProjectName(f"p{at}")) or records.doc("public", "json", f"p{at}")
        ]
        assert kept == list(range(kept[0], 600))
        assert 10 < len(kept) < 300
        assert store.cache.find("public/file") is not None
        assert store.trouble is None


async def test_map_full__many_writes_at_once__all_are_stored(tmp_path: Path) -> None:
    body = bytes(range(256)) * 16
    with opened(tmp_path, map_size=1 << 20) as store:
        for at in range(300):
            await store.records.put_page("public", ProjectName(f"old{at}"), HEAD, body)
        head = msgspec.structs.replace(HEAD, fetched_at=9e9)
        await asyncio.gather(
            *(store.records.put_page("public", ProjectName(f"new{at}"), head, body) for at in range(40))
        )
        assert all(store.records.page_body("public", ProjectName(f"new{at}")) == body for at in range(40))


async def test_map_full__nothing_to_drop__is_store_full_and_reads_go_on(tmp_path: Path) -> None:
    with opened(tmp_path, map_size=1 << 20) as store:
        await store.records.learn("public", PROJECT, Filename("a.whl"), Sha256("a" * 64))
        with pytest.raises(StoreFull, match="the index is full"):
            await store.records.put_page("public", PROJECT, HEAD, bytes(2 << 20))
        assert store.trouble is not None
        assert store.records.learned("public", PROJECT).digests == {"a.whl": "a" * 64}
        await store.records.put_page("public", PROJECT, HEAD, b"small")
        assert store.trouble is None
