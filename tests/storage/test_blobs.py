from __future__ import annotations

import errno
import fcntl
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from pyproxy.errors import BlobDamaged, StoreFull, StoreTrouble
from pyproxy.model import Sha256, as_sha256
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.cache import OpenBlob
from pyproxy.storage.disk import Disk, Where
from pyproxy.storage.spool import Spool
from pyproxy.storage.temps import LARGE, Temp
from tests.storage.stores import Faults, digest_of

DATA = b"the bytes of a wheel" * 100
DIGEST = digest_of(DATA)


def blobs_at(path: Path, fault: Faults | None = None, *, levels: Literal[1, 2] = 1, disk: Disk | None = None) -> Blobs:
    for name in ("blobs", "tmp"):
        (path / name).mkdir(exist_ok=True)
    return Blobs(disk or Disk(path, fault=fault), root=path / "blobs", tmp=path / "tmp", levels=levels)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return blobs_at(tmp_path)


def adopted(blobs: Blobs, data: bytes) -> None:
    temp = blobs.temp()
    temp.write(data)
    blobs.adopt(temp, digest_of(data))
    temp.moved()


def test_temp__written__can_be_read_by_others_meanwhile(blobs: Blobs) -> None:
    temp = blobs.temp()
    temp.write(DATA[:10])
    assert os.pread(temp.fd, 100, 0) == DATA[:10]
    temp.write(memoryview(DATA)[10:])
    assert temp.size == len(DATA)
    assert os.pread(temp.fd, len(DATA) + 1, 0) == DATA
    temp.discard()


def test_temp__name__can_never_pass_for_a_blob(blobs: Blobs) -> None:
    temp = blobs.temp()
    with pytest.raises(ValueError, match="not a SHA-256"):
        as_sha256(temp.path.name)
    assert temp.path.stat().st_mode & 0o777 == 0o600
    temp.discard()


def test_temp__discarded__is_gone_and_discards_again_in_peace(blobs: Blobs) -> None:
    temp = blobs.temp()
    fd = temp.fd
    temp.discard()
    temp.discard()
    assert not temp.path.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with pytest.raises(StoreTrouble):
        temp.write(b"x")


def test_temp__disk_full__is_of_no_more_use(tmp_path: Path) -> None:
    faults = Faults(errno.ENOSPC)
    temp = blobs_at(tmp_path, faults).temp()
    faults.fail_next()
    with pytest.raises(StoreFull):
        temp.write(DATA)
    with pytest.raises(StoreTrouble, match="of no use"):
        temp.write(DATA)
    assert temp.size == 0
    temp.discard()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_temp__fsync_failing__is_never_synced_again(tmp_path: Path) -> None:
    faults = Faults(errno.EIO)
    temp = blobs_at(tmp_path, faults).temp()
    faults.fail_next()
    with pytest.raises(StoreTrouble, match="fsync"):
        temp.sync()
    with pytest.raises(StoreTrouble, match="of no use"):
        temp.sync()
    assert faults.calls.count("fsync") == 1
    temp.discard()


def test_temp__handed_over__leaves_its_first_owner_with_nothing(blobs: Blobs) -> None:
    first = blobs.temp()
    first.write(DATA)
    second = first.handed_over()
    first.discard()
    assert second.path.exists()
    assert os.pread(second.fd, 5, 0) == DATA[:5]
    assert second.size == len(DATA)
    with pytest.raises(StoreTrouble):
        first.handed_over()
    second.discard()


def test_temp__discarded_during_a_write__waits_for_it(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    temp = blobs.temp()
    begun, go_on = threading.Event(), threading.Event()
    whole = os.write

    def slow(fd: int, data: bytes) -> int:
        begun.set()
        assert go_on.wait(10)
        return whole(fd, data)

    monkeypatch.setattr(os, "write", slow)
    writer = threading.Thread(target=temp.write, args=(DATA,))
    writer.start()
    assert begun.wait(10)
    discarder = threading.Thread(target=temp.discard)
    discarder.start()
    discarder.join(0.05)
    assert discarder.is_alive()
    assert temp.fd >= 0
    go_on.set()
    writer.join()
    discarder.join()
    assert temp.fd == -1


@pytest.mark.parametrize(("levels", "folder"), [(1, DIGEST[:2]), (2, f"{DIGEST[:2]}/{DIGEST[2:4]}")])
def test_adopt__whole_temp__stands_under_its_digest_and_nowhere_else(
    tmp_path: Path, levels: Literal[1, 2], folder: str
) -> None:
    blobs = blobs_at(tmp_path, levels=levels)
    adopted(blobs, DATA)
    assert blobs.path(DIGEST) == tmp_path / "blobs" / folder / DIGEST
    assert blobs.path(DIGEST).read_bytes() == DATA
    assert blobs.path(DIGEST).stat().st_mode & 0o777 == 0o600
    assert list((tmp_path / "tmp").iterdir()) == []
    assert blobs.is_sound(DIGEST)
    assert list(blobs.walk()) == [DIGEST]


def test_temp__synced_so_far_and_written_on__is_whole(tmp_path: Path) -> None:
    faults = Faults(errno.EIO)
    temp = blobs_at(tmp_path, faults).temp()
    temp.write(DATA)
    temp.sync_so_far()
    temp.write(DATA)
    temp.sync()
    assert temp.path.read_bytes() == DATA * 2
    assert [what for what in faults.calls if "sync" in what] == ["fdatasync", "fsync"]
    temp.discard()


def test_temp__sync_so_far_failing__is_of_no_use_any_more(tmp_path: Path) -> None:
    # The kernel has marked the pages clean that it could not write: the fsync at the end would find nothing wrong.
    faults = Faults(errno.EIO)
    temp = blobs_at(tmp_path, faults).temp()
    temp.write(DATA)
    faults.fail_next()
    temp.sync_so_far()
    for use in (lambda: temp.write(DATA), temp.sync, temp.handed_over):
        with pytest.raises(StoreTrouble, match="cannot fdatasync"):
            use()
    temp.discard()


def test_temp__discarded__has_nothing_to_sync(blobs: Blobs) -> None:
    temp = blobs.temp()
    temp.discard()
    temp.sync_so_far()
    assert temp.fd == -1


@pytest.mark.parametrize("levels", [1, 2])
def test_adopt__bytes_and_names__are_synced_in_the_order_that_a_crash_asks_for(
    tmp_path: Path, levels: Literal[1, 2]
) -> None:
    faults = Faults(errno.EIO)
    blobs = blobs_at(tmp_path, faults, levels=levels)
    temp = blobs.temp()
    temp.write(DATA)
    del faults.calls[:]
    blobs.adopt(temp, DIGEST)
    temp.moved()
    calls = [what for what in faults.calls if what in {"fsync", "rename", "create"}]
    # The temp's bytes; a rename that finds no folder; the folders; the rename; the names of all.
    assert calls == ["fsync", "rename", *["create"] * levels, "rename", *["fsync"] * (levels + 1)]


def test_adopt__second_of_a_folder__needs_none_made_and_one_synced(tmp_path: Path) -> None:
    faults = Faults(errno.EIO)
    blobs = blobs_at(tmp_path, faults)
    adopted(blobs, DATA)
    temp = blobs.temp()
    temp.write(DATA)
    del faults.calls[:]
    blobs.adopt(temp, DIGEST)
    temp.moved()
    assert [what for what in faults.calls if what in {"fsync", "rename", "create"}] == ["fsync", "rename", "fsync"]


def test_adopt__temp_swept_away__is_trouble(blobs: Blobs) -> None:
    temp = blobs.temp()
    temp.path.unlink()
    with pytest.raises(StoreTrouble, match="is gone"):
        blobs.adopt(temp, DIGEST)
    temp.discard()


def test_open__missing__is_damage(blobs: Blobs) -> None:
    with pytest.raises(BlobDamaged):
        blobs.open(DIGEST)


def test_open__set_aside_and_unlinked_meanwhile__reads_on(blobs: Blobs) -> None:
    adopted(blobs, DATA)
    fd = blobs.open(DIGEST)
    aside = blobs.set_aside(DIGEST)
    assert aside is not None
    blobs.unlink(aside)
    assert os.pread(fd, len(DATA), 0) == DATA
    os.close(fd)
    assert blobs.set_aside(DIGEST) is None
    assert list(blobs.walk()) == []


# ---------------------------------------------------------------------- blobs of earlier versions


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A blob where an earlier version put it."""
    adopted(blobs_at(tmp_path, levels=2), DATA)
    path = tmp_path / "blobs" / DIGEST[:2] / DIGEST[2:4] / DIGEST
    assert path.exists()
    return path


def test_open__blob_two_folders_deep__is_found_and_brought_up(blobs: Blobs, deep: Path) -> None:
    times = deep.stat().st_mtime_ns
    os.close(blobs.open(DIGEST))
    assert blobs.path(DIGEST).read_bytes() == DATA
    assert blobs.path(DIGEST).stat().st_mtime_ns == times  # rows have it
    assert not deep.parent.exists()


def test_open__blob_two_folders_deep_beside_another__leaves_the_folder(blobs: Blobs, deep: Path) -> None:
    other = deep.with_name(f"{DIGEST[:4]}{'0' * 60}")
    other.write_bytes(b"another")
    os.close(blobs.open(DIGEST))
    assert other.exists()


@pytest.mark.parametrize("look", [Blobs.stat, Blobs.is_sound, Blobs.set_aside])
def test_blob_two_folders_deep__whoever_looks__finds_it(
    blobs: Blobs, deep: Path, look: Callable[[Blobs, Sha256], object]
) -> None:
    assert look(blobs, DIGEST)
    assert not deep.exists()


def test_open__blob_brought_up_by_another_just_now__is_found(tmp_path: Path, deep: Path) -> None:
    class Late(Disk):
        """Another process is quicker with each rename."""

        def rename(self, source: Where, target: Where) -> bool:
            super().rename(source, target)
            return super().rename(source, target)

    blobs = blobs_at(tmp_path, disk=Late(tmp_path))
    os.close(blobs.open(DIGEST))
    assert not deep.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_open__disk_does_not_let_the_blob_be_brought_up__reads_it_where_it_is(
    tmp_path: Path, deep: Path, number: int
) -> None:
    faults = Faults(number)
    blobs = blobs_at(tmp_path, faults)
    faults.fail("rename")
    fd = blobs.open(DIGEST)
    assert os.pread(fd, len(DATA), 0) == DATA
    os.close(fd)
    assert blobs.stat(DIGEST) is not None
    assert blobs.is_sound(DIGEST)
    assert deep.exists()


def test_walk__blobs_of_both_depths__gives_all(blobs: Blobs, deep: Path) -> None:
    adopted(blobs, b"another")
    assert set(blobs.walk()) == {DIGEST, digest_of(b"another")}
    assert deep.exists()


def test_open__two_levels__looks_nowhere_else(tmp_path: Path) -> None:
    adopted(blobs_at(tmp_path), DATA)
    with pytest.raises(BlobDamaged):
        blobs_at(tmp_path, levels=2).open(DIGEST)


# ---------------------------------------------------------------------- damage


@pytest.mark.parametrize("damage", ["flip", "cut", "fifo", "gone", "unreadable"])
def test_is_sound__damaged__is_false(tmp_path: Path, damage: str) -> None:
    faults = Faults(errno.EIO)
    blobs = blobs_at(tmp_path, faults)
    adopted(blobs, DATA)
    path = blobs.path(DIGEST)
    match damage:
        case "flip":
            path.write_bytes(b"X" + DATA[1:])
        case "cut":
            path.write_bytes(DATA[:-1])
        case "fifo":
            path.unlink()
            os.mkfifo(path)
        case "gone":
            path.unlink()
        case _:
            faults.fail_next(3)  # open, stat, read
    assert not blobs.is_sound(DIGEST)
    assert faults.fired == (damage == "unreadable")


def test_walk__foreign_files__are_passed_over(blobs: Blobs, tmp_path: Path) -> None:
    adopted(blobs, DATA)
    root = tmp_path / "blobs"
    (root / "lost+found").mkdir()
    (root / "README").write_text("x")
    (root / DIGEST[:2] / "notes.txt").write_text("x")
    (root / "00").mkdir(exist_ok=True)
    (root / "00" / "11").mkdir()
    (root / "00" / "11" / DIGEST).write_bytes(DATA)  # a blob's name in the wrong place
    (root / "00" / "11" / "x").write_bytes(b"")
    assert list(blobs.walk()) == [DIGEST]


def test_sweep__dead_temps_live_ones_and_foreign_files__takes_the_dead_alone(blobs: Blobs, tmp_path: Path) -> None:
    alive = blobs.temp()
    dead = blobs.temp()
    os.close(os.dup(dead.fd))
    os.close(dead.fd)  # what a crash does
    dead.fd = -1
    (tmp_path / "tmp" / "lost+found").mkdir()
    (tmp_path / "tmp" / f"1.{'0' * 32}").mkdir()
    (tmp_path / "tmp" / f"2.{'0' * 32}").symlink_to(tmp_path)
    (tmp_path / "tmp" / "mine.txt").write_text("x")
    assert blobs.sweep() == (1, 4)
    assert alive.path.exists()
    assert not dead.path.exists()
    alive.discard()


def test_temp__swept_before_it_was_locked__is_made_anew(tmp_path: Path) -> None:
    held: list[int] = []

    class Sweeping(Disk):
        def create(self, path: Path) -> int:
            fd = super().create(path)
            if len(held) < 2:
                other = os.open(path, os.O_RDONLY)
                fcntl.flock(other, fcntl.LOCK_EX)
                held.append(other)
                path.unlink()
                if len(held) == 2:
                    os.close(other)  # locked, swept and let go: the lock is free and the name gone
            return fd

    for name in ("blobs", "tmp"):
        (tmp_path / name).mkdir()
    temp: Temp = Blobs(Sweeping(tmp_path), root=tmp_path / "blobs", tmp=tmp_path / "tmp").temp()
    assert len(held) == 2
    assert temp.path.exists()
    temp.discard()
    os.close(held[0])


# ---------------------------------------------------------------------- closing


def closers_noted(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[threading.Thread]:
    """The threads that close descriptors from now on."""
    seen: queue.Queue[threading.Thread] = queue.Queue()
    close = os.close

    def noted(fd: int) -> None:
        close(fd)
        seen.put(threading.current_thread())

    monkeypatch.setattr(os, "close", noted)
    return seen


def spooled(temp: Temp) -> Callable[[], None]:
    spool = Spool(temp)
    temp.discard()
    return spool.close


def opened(temp: Temp) -> Callable[[], None]:
    blob = OpenBlob(os.dup(temp.fd), LARGE, DIGEST)
    temp.discard()
    return blob.close


@pytest.mark.parametrize("holding", [spooled, opened])
@pytest.mark.parametrize(("size", "elsewhere"), [(LARGE, True), (LARGE - 1, False)])
def test_close__last_of_an_unlinked_file__large_one_is_freed_in_a_thread(
    blobs: Blobs,
    monkeypatch: pytest.MonkeyPatch,
    holding: Callable[[Temp], Callable[[], None]],
    size: int,
    *,
    elsewhere: bool,
) -> None:
    temp = blobs.temp()
    os.truncate(temp.fd, size)
    closing = holding(temp)
    closers = closers_noted(monkeypatch)
    closing()

    assert (closers.get(timeout=5) is not threading.current_thread()) == elsewhere


def test_close__large_file_that_has_a_name__needs_no_thread(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    temp = blobs.temp()
    os.truncate(temp.fd, LARGE)
    blob = OpenBlob(os.dup(temp.fd), LARGE, DIGEST)
    closers = closers_noted(monkeypatch)
    blob.close()

    assert closers.get(timeout=5) is threading.current_thread()
    temp.discard()


def test_close__no_thread_to_be_had__closes_all_the_same(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't start new thread {thread.name}")

    temp = blobs.temp()
    os.truncate(temp.fd, LARGE)
    closing = opened(temp)
    closers = closers_noted(monkeypatch)
    monkeypatch.setattr(threading.Thread, "start", none_left)
    closing()

    assert closers.get(timeout=5) is threading.current_thread()
