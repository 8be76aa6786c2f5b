from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyproxy.errors import StoreTrouble
from pyproxy.storage import check, mounts, recover
from pyproxy.storage import store as store_module
from pyproxy.storage.disk import Disk
from pyproxy.storage.store import open_store
from tests.storage.stores import (
    Faults,
    assert_sound,
    digest_of,
    got,
    on_disk,
    opened,
    put,
    record_of,
    reopened_soundly,
    temps,
    written,
)


@pytest.fixture(autouse=True)
def patient_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, a start finishes what it may do at all."""
    monkeypatch.setattr(store_module, "START_SECONDS", 60.0)


def filled(path: Path, count: int = 5) -> None:
    with opened(path) as store:
        for at in range(count):
            asyncio.run(put(store, f"public/{at}", b"data %d" % at))


def crashed(path: Path) -> None:
    """As a crash leaves it: without the note that all is in order."""
    (path / "cache" / "clean").unlink()


def index_of(path: Path) -> Path:
    return path / "cache" / "index" / "data.mdb"


# ---------------------------------------------------------------------- a clean stop and a crash


def test_clean_stop__next_start__looks_at_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    faults = Faults(0)
    monkeypatch.setattr(recover, "index_damage", _never)
    with opened(tmp_path, fault=faults) as store:
        assert store.reconciled
        assert not (tmp_path / "cache" / "clean").exists()
        assert "read" in faults.calls
        assert got(store, "public/0") == b"data 0"
    assert (tmp_path / "cache" / "clean").exists()


def test_crash__next_start__checks_the_index_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    crashed(tmp_path)
    looked: list[Path] = []
    monkeypatch.setattr(recover, "index_damage", lambda _disk, index: looked.append(index))
    with opened(tmp_path) as store:
        assert looked == [tmp_path / "cache" / "index"]
        assert store.reconciled
        assert store.reconciliation.drift == recover.Drift()


def test_index_changed_since_a_clean_stop__next_start__checks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    os.utime(index_of(tmp_path), (1, 1))
    looked: list[Path] = []
    monkeypatch.setattr(recover, "index_damage", lambda _disk, index: looked.append(index))
    with opened(tmp_path):
        assert looked


def test_command_line_beside_a_stopped_daemon__leaves_it_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    monkeypatch.setattr(recover, "index_damage", _never)
    with opened(tmp_path, exclusive=False) as store:
        asyncio.run(put(store, "public/more", b"more"))
    with opened(tmp_path) as store:
        assert store.reconciled
        assert got(store, "public/more") == b"more"


def test_stop__with_a_blob_that_could_not_be_taken_away__is_not_clean(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as daemon:
        daemon.cache.stock.untidy = True
    assert not (tmp_path / "cache" / "clean").exists()
    assert len(reopened_soundly(tmp_path)) == 5


def test_start__blobs_two_folders_deep_as_earlier_versions_had_them__are_held_and_brought_up(tmp_path: Path) -> None:
    filled(tmp_path)
    for path in list((tmp_path / "cache" / "blobs").glob("*/*")):
        deep = path.parent / path.name[2:4] / path.name
        deep.parent.mkdir()
        path.rename(deep)
    crashed(tmp_path)
    with opened(tmp_path) as store:
        assert store.reconciled
        assert store.reconciliation.drift == recover.Drift()
        assert [got(store, f"public/{at}") for at in range(5)] == [b"data %d" % at for at in range(5)]
        assert store.cache.stock.shrink_to(0) == 30
    assert on_disk(tmp_path) == (0, 0)


# ---------------------------------------------------------------------- what a crash leaves


def test_crash__orphans_temps_and_lost_blobs__account_is_the_disks(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as store:
        whole, wrong = store.blobs.temp(), store.blobs.temp()
        whole.write(b"whole orphan")
        store.blobs.adopt(whole, digest_of(b"whole orphan"))
        whole.moved()
        wrong.write(b"not its name")
        store.blobs.adopt(wrong, digest_of(b"another name"))
        wrong.moved()
        store.blobs.path(digest_of(b"data 1")).unlink()
        store.blobs.path(digest_of(b"data 2")).write_bytes(b"cut")
    crashed(tmp_path)
    (tmp_path / "cache" / "tmp" / f"1.{'a' * 32}").write_bytes(b"half")
    with opened(tmp_path) as store:
        assert store.reconciled
        assert store.reconciliation.drift == recover.Drift(adopted=1, removed=1, dropped=2, nbytes=0)
        assert_sound(store)
        assert store.cache.holds(digest_of(b"whole orphan")) == 12
        assert not store.blobs.path(digest_of(b"another name")).exists()
        assert [got(store, f"public/{at}") for at in range(4)] == [b"data 0", None, None, b"data 3"]


async def test_orphan__adopted__is_linked_by_digest_without_a_download(tmp_path: Path) -> None:
    await asyncio.to_thread(filled, tmp_path, 1)
    crashed(tmp_path)
    index_of(tmp_path).unlink()
    with opened(tmp_path) as store:
        assert store.cache.find("public/0") is None
        assert await store.cache.link("public/0", record_of(b"data 0"))
        assert got(store, "public/0") == b"data 0"


async def test_crash__too_much_for_the_start__is_finished_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(filled, tmp_path, 30)
    crashed(tmp_path)
    index_of(tmp_path).unlink()
    monkeypatch.setattr(store_module, "START_SECONDS", 0.0)
    with opened(tmp_path) as store:
        assert not store.reconciled
        await put(store, "public/new", b"new")
        drift = await store.reconcile()
        assert drift.adopted == 30
        assert store.reconciled
        assert_sound(store)
        assert await store.reconcile() == drift
    assert (tmp_path / "cache" / "clean").exists()


async def test_crash__large_orphans__are_not_read_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(filled, tmp_path, 5)
    crashed(tmp_path)
    index_of(tmp_path).unlink()
    monkeypatch.setattr(store_module, "START_BYTES", 13)
    with opened(tmp_path) as store:
        assert store.cache.files == 2
    assert not (tmp_path / "cache" / "clean").exists()
    with opened(tmp_path) as store:
        await store.reconcile()
        assert store.cache.files == 5


async def test_crash__orphans_beyond_the_limit__are_evicted(tmp_path: Path) -> None:
    await asyncio.to_thread(filled, tmp_path, 5)
    crashed(tmp_path)
    index_of(tmp_path).unlink()
    with opened(tmp_path, limit=20) as store:
        await store.reconcile()
        assert store.cache.bytes == 18 == on_disk(tmp_path)[0]


async def test_start__folder_that_cannot_be_read__does_not_hinder_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(filled, tmp_path)
    crashed(tmp_path)

    def unreadable(*_: object, **__: object) -> None:
        raise StoreTrouble("cannot list cache/blobs/ab: Permission denied")

    monkeypatch.setattr(recover.Reconciliation, "work", unreadable)
    with opened(tmp_path) as store:
        assert not store.reconciled
        assert got(store, "public/0") == b"data 0"
        with pytest.raises(StoreTrouble, match="Permission denied"):
            await store.reconcile()


def test_start__ten_thousand_temps_and_foreign_files__is_quick_and_leaves_the_foreign(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, 1)
    for folder in (".", "cache", "cache/blobs", "cache/tmp", "cache/index"):
        (tmp_path / folder / "lost+found").mkdir()
        (tmp_path / folder / "note").write_text("mine")
    for at in range(10_000):
        (tmp_path / "cache" / "tmp" / f"1.{at:032x}").touch()
    begun = time.monotonic()
    with opened(tmp_path) as store:
        assert time.monotonic() - begun < 5
        assert got(store, "public/0") == b"data 0"
    assert temps(tmp_path) == ["lost+found", "note"]
    assert (tmp_path / "cache" / "blobs" / "note").exists()
    assert "2 files in the store's tmp folder are none of ours" in caplog.text


async def test_sweep__beside_a_download_under_way__leaves_its_temp(tmp_path: Path) -> None:
    with opened(tmp_path, exclusive=False) as store:
        reservation = await store.cache.reserve(4)
        temp = written(store, b"data")
        assert store.blobs.sweep() == (0, 0)
        await store.cache.keep(temp, "public/a", record_of(b"data"), reservation)
        assert got(store, "public/a") == b"data"


# ---------------------------------------------------------------------- a damaged index


def _truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def _garbage(path: Path) -> None:
    path.write_bytes(b"garbage " * 4096)


def _garbage_within(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[2 * 4096 :] = b"\xa5" * (len(data) - 2 * 4096)
    path.write_bytes(data)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _deleted(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [_truncated, _garbage, _garbage_within, _emptied, _deleted])
def test_damaged_index__start__begins_anew_and_keeps_the_blobs(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    filled(tmp_path, 100)
    damage(index_of(tmp_path))
    with opened(tmp_path) as store:
        asyncio.run(store.reconcile())
        assert_sound(store)
        assert store.cache.files == 100
        asyncio.run(put(store, "public/0", b"data 0"))
        assert got(store, "public/0") == b"data 0"
    aside = list((tmp_path / "cache").glob("index.damaged-*"))
    assert len(aside) == (0 if damage in {_emptied, _deleted} else 1)


def test_damaged_index__set_aside__is_told_and_replaces_an_earlier_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    earlier = tmp_path / "cache" / "index.damaged-20200101T000000"
    earlier.mkdir()
    (earlier / "data.mdb").write_bytes(b"old")
    _garbage(index_of(tmp_path))
    with opened(tmp_path):
        pass
    assert "the index was damaged" in caplog.text
    assert "a fresh one is begun" in caplog.text
    assert not earlier.exists()


def test_index_of_another_version__start__begins_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    with opened(tmp_path) as store:
        store.records.writer.call(lambda txn: txn.put(b"schema", b"0", db=store.records.env.meta))
    with opened(tmp_path) as store:
        assert store.cache.find("public/0") is None
        asyncio.run(store.reconcile())
        assert store.cache.files == 5


def test_check__sound_damaged_and_none__says_so_by_its_exit_code(tmp_path: Path) -> None:
    filled(tmp_path, 50)
    index = tmp_path / "cache" / "index"

    def exit_code(*arguments: str) -> int:
        return subprocess.run(
            [sys.executable, "-P", check.__file__, *arguments], capture_output=True, check=False
        ).returncode

    assert exit_code(str(index)) == check.SOUND
    assert exit_code(str(tmp_path / "nowhere")) == check.UNKNOWN
    assert exit_code() == check.UNKNOWN
    _garbage(index_of(tmp_path))
    assert exit_code(str(index)) == check.DAMAGED


def test_check__that_never_ends__counts_as_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    monkeypatch.setattr(recover, "CHECK_SECONDS", 0.0)
    assert "did not end" in (recover.index_damage(Disk(tmp_path), tmp_path / "cache" / "index") or "")


def test_check__that_cannot_run__is_trouble_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    crashed(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(StoreTrouble, match="cannot check the index"):
        open_store(tmp_path, limit=1, exclusive=True, environment={})
    monkeypatch.undo()
    assert len(reopened_soundly(tmp_path)) == 5


# ---------------------------------------------------------------------- where a store may lie


@pytest.mark.parametrize("name", ["cache", "cache/blobs", "cache/index", "cache/tmp", "cache/lists"])
def test_open__symbolic_link_within__is_refused(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / "data" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(StoreTrouble, match=f"^{name} is a symbolic link"):
        open_store(tmp_path / "data", limit=1, exclusive=True, environment={})
    assert list(elsewhere.iterdir()) == []


def test_open__folder_cannot_be_made__is_trouble_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreTrouble, match=r"cannot make the data folder .*: Not a directory"):
        open_store(tmp_path / "file" / "data", limit=1, exclusive=True, environment={})


def test_open__read_only__is_trouble_with_the_reason(tmp_path: Path) -> None:
    filled(tmp_path)
    faults = Faults(30)  # EROFS
    faults.fail("open")
    with pytest.raises(StoreTrouble, match=r"^cannot open lock: Read-only file system$"):
        open_store(tmp_path, limit=1, exclusive=True, fault=faults, environment={})


def test_open__made_anew__is_private(tmp_path: Path) -> None:
    with opened(tmp_path / "a" / "data") as store:
        asyncio.run(put(store, "public/a", b"data"))
    for file in (tmp_path / "a" / "data", *(tmp_path / "a" / "data").rglob("*")):
        assert file.stat().st_mode & 0o777 == (0o700 if file.is_dir() else 0o600), file


MOUNTS = [
    "/dev/vda / ext4 rw 0 0",
    "server:/export /srv/shared nfs4 rw 0 0",
    "tmpfs /srv/shared/fast tmpfs rw 0 0",
    "share /srv/with\\040space cifs rw 0 0",
    "overlay /over overlay rw 0 0",
    "server:/x /over nfs rw 0 0",
    "",
]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/srv", "ext4"),
        ("/srv/shared", "nfs4"),
        ("/srv/shared/data", "nfs4"),
        ("/srv/sharedness", "ext4"),
        ("/srv/shared/fast/data", "tmpfs"),
        ("/srv/with space/x", "cifs"),
        ("/over/data", "nfs"),
    ],
)
def test_filesystem__nearest_mount_point__decides(path: str, kind: str) -> None:
    assert mounts.type_at(Path(path), MOUNTS) == kind


def test_open__remote_filesystem__is_refused_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "filesystem_of", lambda _: "nfs4")
    with pytest.raises(StoreTrouble, match=r"remote file system \(nfs4\).*PYPROXY_ALLOW_REMOTE_FS=1"):
        open_store(tmp_path / "data", limit=1, exclusive=True, environment={})
    assert not (tmp_path / "data").exists()
    open_store(tmp_path / "data", limit=1, exclusive=True, environment={recover.ALLOW_REMOTE: "1"}).close()


def _never(*_: object) -> None:
    raise AssertionError("the index was checked after a clean stop")


def test_log__recovery__names_no_path_outside_the_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    filled(tmp_path)
    _garbage(index_of(tmp_path))
    assert reopened_soundly(tmp_path) == {}
    assert str(tmp_path) not in caplog.text
