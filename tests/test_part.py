"""Files without a name that hold what is to be sent: in a folder, or in memory where that cannot be."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyproxy.part import Descriptor, Part, Spool

BODY = bytes(range(256)) * 1000


def where(part: Part) -> str:
    return str(Path(f"/proc/self/fd/{part.file.fd}").readlink())


def content(part: Part) -> bytes:
    return os.pread(part.file.fd, part.length, part.start)


def laid(spool: Spool) -> Part:
    (part,) = laid_by(spool)
    return part


def laid_by(spool: Spool) -> list[Part]:
    found: list[Part] = []
    spool.lay((BODY[:1000], BODY[1000:]), found.append)
    return found


def test_file__in_a_folder__has_the_bytes_and_no_name(tmp_path: Path) -> None:
    part = laid(Spool(tmp_path))
    assert content(part) == BODY
    assert where(part).startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", [None, Path("/nowhere/at/all")])
def test_file__without_a_folder_that_can_take_it__lies_in_memory(folder: Path | None) -> None:
    part = laid(Spool(folder))
    assert content(part) == BODY
    assert "memfd" in where(part)


def test_file__where_no_descriptor_is_left__is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "memfd_create", refuse)
    assert laid_by(Spool(tmp_path)) == []


def test_file__that_nobody_has_any_more__is_closed(tmp_path: Path) -> None:
    part = laid(Spool(tmp_path))
    fd = part.file.fd
    del part
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_file__of_a_part_of_another__has_its_bytes_behind_the_piece_before() -> None:
    source = laid(Spool())
    found: list[Part] = []
    Spool().lay((b"head", Part(source.file, 100, 1000)), found.append)
    assert content(found[0]) == b"head" + BODY[100:1100]


def test_file__of_more_than_the_system_writes_at_once__is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    some = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, pieces: some(fd, [piece[:300] for piece in pieces[:1]]))
    assert content(laid(Spool())) == BODY


async def test_file__where_no_thread_is_to_be_had__is_not_made(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        pass  # shut down: a system without threads to give is told of in the same way
    assert laid_by(Spool(tmp_path, pool)) == []


def test_descriptor__that_takes_long_to_close__is_closed_as_it_was_told_to() -> None:
    closed: list[int] = []
    part = Part(Descriptor(77, closed.append), 0, 1)
    other = Part(part.file, 1, 1)
    del part
    assert closed == []
    del other
    assert closed == [77]


async def test_file__made_by_a_pool__is_told_of_on_the_loop(tmp_path: Path) -> None:
    told: asyncio.Future[Part] = asyncio.get_running_loop().create_future()
    with ThreadPoolExecutor(1) as pool:
        Spool(tmp_path, pool).lay((BODY[:1000], BODY[1000:]), told.set_result)
        assert not told.done()
        assert content(await told) == BODY
