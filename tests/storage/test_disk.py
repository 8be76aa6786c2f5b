from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pyproxy.errors import StoreFull, StoreTrouble
from pyproxy.storage.disk import Disk
from tests.storage.stores import Faults


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_error__no_room__is_store_full(tmp_path: Path, number: int) -> None:
    disk = Disk(tmp_path, fault=Faults(number, at=1))
    with pytest.raises(StoreFull, match=r"^cannot create sub/file: "):
        disk.create(tmp_path / "sub" / "file")


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EMFILE, errno.EACCES])
def test_error__any_other__is_store_trouble_without_the_stores_path(tmp_path: Path, number: int) -> None:
    disk = Disk(tmp_path, fault=Faults(number, at=1))
    with pytest.raises(StoreTrouble) as caught:
        disk.rename(tmp_path / "a", tmp_path / "b")
    assert not isinstance(caught.value, StoreFull)
    assert str(caught.value) == f"cannot rename a: {os.strerror(number)}"


def test_absent__open_stat_unlink_rename_list__are_no_errors(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    gone = tmp_path / "no" / "such"
    assert disk.open_read(gone) is None
    assert disk.lstat(gone) is None
    assert disk.read_all(gone) is None
    assert not disk.unlink(gone)
    assert not disk.remove_dir(gone)
    assert not disk.rename(gone, tmp_path / "x")
    assert disk.names(gone) == []


def test_create__something_there__is_refused(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreTrouble, match="File exists"):
        disk.create(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_open_read__symbolic_link__is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(StoreTrouble):
        Disk(tmp_path).open_read(tmp_path / "link")


def test_modes__folders_and_files__are_private_under_any_umask(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    before = os.umask(0)
    try:
        disk.make_own_dir(tmp_path / "folder")
        os.close(disk.create(tmp_path / "folder" / "file"))
    finally:
        os.umask(before)
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "folder" / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("what", ["link", "file"])
def test_own_dir__something_else_in_its_place__is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "real").mkdir()
    if what == "link":
        (tmp_path / "folder").symlink_to(tmp_path / "real")
    else:
        (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(StoreTrouble, match="a folder of its own"):
        Disk(tmp_path).make_own_dir(tmp_path / "folder")


def test_write__short_writes__goes_on_until_all_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path)
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, bytes(data)[:3]))
    fd = disk.create(tmp_path / "file")
    disk.write(fd, b"0123456789", tmp_path / "file")
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_write_whole__failing_at_any_call__leaves_old_or_new(tmp_path: Path) -> None:
    path = tmp_path / "note"
    Disk(tmp_path).write_whole(path, b"old")
    at = 0
    while True:
        at += 1
        faults = Faults(errno.EIO, at=at)
        try:
            Disk(tmp_path, fault=faults).write_whole(path, b"new")
        except StoreTrouble:
            assert path.read_bytes() in {b"old", b"new"}
        if not faults.fired:
            break
    assert at > 4
    assert path.read_bytes() == b"new"
