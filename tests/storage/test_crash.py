"""Killed at any point, shared by many, its readers dead: the store opens, and what it says it holds is there."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from pyproxy.errors import StoreInUse
from pyproxy.storage import environment as environment_module
from pyproxy.storage.failpoints import NAMES
from pyproxy.storage.store import open_store, status
from tests.storage.child import Running, child
from tests.storage.stores import assert_sound, got, on_disk, opened, put, reopened_soundly


@pytest.mark.parametrize(
    ("name", "passage"),
    [
        (name, passage)
        for name in sorted(NAMES)
        for passage in (1, 2, 3)
        if passage == 1 or not name.startswith("evict")
    ],
)
def test_killed_at_a_failpoint__opens_soundly_with_all_that_was_kept(tmp_path: Path, name: str, passage: int) -> None:
    done = child("once", tmp_path, failpoint=f"{name}:kill@{passage}")
    assert done.returncode == -signal.SIGKILL, done.stderr
    held = reopened_soundly(tmp_path, limit=1000)
    assert all(data == key[-1].encode() * 400 for key, data in held.items())
    kept = done.stdout.split()
    assert {f"public/{said}" for said in kept[-2:]} - {"public/a"} <= held.keys()
    if name.startswith("evict"):
        assert "public/a" not in held
    with opened(tmp_path, limit=1000) as store:
        assert store.reconciled


def test_killed_at_random__many_times__nothing_kept_is_lost_and_every_start_succeeds(tmp_path: Path) -> None:
    for seed in range(8):
        with Running("fill", tmp_path, str(seed)) as filling:
            assert filling.line() == "open"
            kept = [filling.line() for _ in range(3 + 7 * seed)]
            kept += filling.kill()
        held = reopened_soundly(tmp_path, limit=100_000)
        last = [said for said in kept[-5:] if int(said.split("/")[1]) % 3]
        assert last
        assert {f"public/{said}" for said in last} <= held.keys()


def test_several_processes__writing_at_once__keep_the_account_exact(tmp_path: Path) -> None:
    with (
        opened(tmp_path, limit=60_000) as store,
        Running("beside", tmp_path, "one") as one,
        Running("beside", tmp_path, "two") as two,
        Running("beside", tmp_path, "three") as three,
    ):
        outputs = [process.finish() for process in (one, two, three)]
        assert_sound(store)
        assert 30_000 < store.cache.bytes <= 60_000
    assert [output[-1] for output in outputs] == ["done"] * 3
    # An eviction by one of what another stores just then may cost the second one his file, and nothing else.
    refused = [line for output in outputs for line in output[:-1]]
    assert all("taken away while it was stored" in line for line in refused)
    assert len(refused) < 20


def test_readers_killed__all_slots_taken__are_found_dead_and_no_client_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment_module, "MAX_READERS", 64)
    with opened(tmp_path) as store, Running("read", tmp_path) as reader:
        asyncio.run(put(store, "public/a", b"data"))
        assert reader.line() == "60"
        reader.kill()
        transactions = [store.records.env.reading() for _ in range(20)]
        assert got(store, "public/a") == b"data"
        for txn in transactions:
            txn.abort()


def test_writer_killed__holding_the_write_lock__others_go_on(tmp_path: Path) -> None:
    with opened(tmp_path) as store, Running("write", tmp_path) as writer:
        assert writer.line() == "locked"
        waiting = store.records.writer.submit(lambda txn: txn.put(b"k", b"v", db=store.records.env.meta))
        writer.kill()
        assert waiting.result(5)
        asyncio.run(put(store, "public/a", b"data"))
        assert got(store, "public/a") == b"data"


def test_second_daemon__store_in_use__is_refused_naming_lock_and_pid_within_two_seconds(tmp_path: Path) -> None:
    with Running("daemon", tmp_path) as first:
        pid = int(first.line())
        begun = time.monotonic()
        with pytest.raises(StoreInUse) as caught:
            open_store(tmp_path, limit=1000, exclusive=True, environment={})
        assert time.monotonic() - begun < 3
        assert str(caught.value) == f"{tmp_path / 'lock'}: another pyproxy (pid {pid}) holds the lock on this store"
        with opened(tmp_path, exclusive=False) as beside:
            asyncio.run(put(beside, "public/a", b"data"))
            assert status(beside).daemon == pid
        first.kill()
        with opened(tmp_path) as store:
            assert got(store, "public/a") == b"data"
            assert on_disk(tmp_path) == (4, 1)
