"""What stands beside files is written behind the answers, together, and read back as it was or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pyproxy.errors import StoreTrouble
from pyproxy.index.stored_companions import Companion, StoredCompanions
from pyproxy.storage.records import DocRecord, Records
from pyproxy.storage.store import Store
from pyproxy.storage.writer import Unfinished
from tests.storage.stores import opened

FIRST, SECOND = Companion.of(b"Name: first"), Companion.of(b"Name: second")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "data") as made:
        yield made


def companions(store: Store) -> StoredCompanions:
    return StoredCompanions(store.records, name="public", pause=0.0)


async def test_find__kept__is_the_same_after_it_is_written_and_not_before(store: Store) -> None:
    kept = companions(store)
    done = kept.keep("a", "sha256:1", FIRST)

    assert kept.find("a", "sha256:1") is None
    await done
    assert kept.find("a", "sha256:1") == FIRST
    assert companions(store).find("a", "sha256:1") == FIRST


@pytest.mark.parametrize(("key", "verified"), [("a", "sha256:2"), ("b", "sha256:1")])
async def test_find__of_another_file__is_none(store: Store, key: str, verified: str) -> None:
    kept = companions(store)
    await kept.keep("a", "sha256:1", FIRST)

    assert kept.find(key, verified) is None


async def test_keep__several_at_once__are_one_write(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = watched(monkeypatch)
    kept = companions(store)

    await asyncio.gather(kept.keep("a", "x", FIRST), kept.keep("b", "x", SECOND))

    assert writes == [["a", "b"]]
    assert (kept.find("a", "x"), kept.find("b", "x")) == (FIRST, SECOND)


async def test_keep__twice_before_it_is_written__the_later_one_stays(store: Store) -> None:
    kept = companions(store)

    await asyncio.gather(kept.keep("a", "x", FIRST), kept.keep("a", "x", SECOND))

    assert kept.find("a", "x") == SECOND


async def test_keep__while_others_are_written__is_written_next(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = watched(monkeypatch)
    kept = companions(store)
    first = kept.keep("a", "x", FIRST)
    while not writes:  # noqa: ASYNC110 - the very step that begins to write is looked for
        await asyncio.sleep(0)

    await asyncio.gather(first, kept.keep("b", "x", SECOND))

    assert writes == [["a"], ["b"]]


async def test_keep__one_cannot_be_written__the_others_are(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = watched(monkeypatch, failing=StoreTrouble("no"))
    kept = companions(store)

    await asyncio.gather(kept.keep("a", "x", FIRST), kept.keep("bad", "x", SECOND))
    await kept.settled()

    assert writes == [["a", "bad"], ["a"], ["bad"]]
    assert (kept.find("a", "x"), kept.find("bad", "x")) == (FIRST, None)


async def test_keep__disk_hangs__is_not_waited_for_again_and_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writes = watched(monkeypatch, failing=Unfinished("too slow"))
    kept = companions(store)

    await asyncio.gather(kept.keep("a", "x", FIRST), kept.keep("bad", "x", SECOND))
    await kept.settled()

    assert writes == [["a", "bad"]]
    assert [f"{key} was served but not kept: too slow" in caplog.text for key in ("a", "bad")] == [True, True]


async def test_keep__unexpected_trouble__does_not_keep_the_next_from_being_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(monkeypatch, failing=RuntimeError("a bug"))
    kept = companions(store)
    await kept.keep("bad", "x", FIRST)
    await kept.keep("b", "x", SECOND)

    assert kept.find("b", "x") == SECOND


async def test_settled__waits_for_all_that_was_kept(store: Store) -> None:
    kept = companions(store)
    kept.keep("a", "x", FIRST)

    await kept.settled()

    assert kept.find("a", "x") == FIRST


def watched(monkeypatch: pytest.MonkeyPatch, *, failing: Exception | None = None) -> list[list[str]]:
    """The keys of each write; one with the key "bad" fails so."""
    writes: list[list[str]] = []
    put = Records.put_docs

    async def watching(records: Records, remote: str, kind: str, docs: Mapping[str, DocRecord]) -> None:
        writes.append(sorted(docs))
        if failing is not None and "bad" in docs:
            raise failing
        await put(records, remote, kind, docs)

    monkeypatch.setattr(Records, "put_docs", watching)
    return writes
