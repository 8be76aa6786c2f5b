"""Notices of the downloads under way: where the bytes are, how many have come, and how it ended.

A notice is written by the worker that downloads, over the one before. It carries a checksum, so that one that is being
written is told from one that is whole: who reads half of one looks again a moment later.
"""

from __future__ import annotations

import hashlib
import struct
import time
import zlib
from typing import Final, Literal, TypeAlias

import msgspec

from pyproxy.fellows.board import KEY, NOTICE, Board

State: TypeAlias = Literal["coming", "landed", "failed", "passing", "left"]

_KNOWN: Final = 4096
"""Keys whose slots are remembered; those of downloads that nobody looked at to their end are among them."""

_HEAD: Final = struct.Struct("=HI")
_FREE: Final = bytes(KEY)


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An error as another process is told of it."""

    kind: str
    text: str
    remote: str = ""
    final: bool = False
    retry_after: float | None = None


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """`began` tells downloads of one key apart. `temp` is the name of the temporary file, `arrived` its length.

    States: coming; landed (`landed` has its SHA-256, its size and what verified it); failed (`failure` tells why);
    passing (the disk refuses the rest, which is in the memory of that worker alone); left (given up as it stops).
    """

    began: int
    state: State
    temp: str
    arrived: int
    headed: bool
    total: int | None
    validator: str | None
    landed: tuple[str, int, str] | None = None
    failure: Failure | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Notice)


class Slot:
    """A place on the board that a download of this process has until it is given back."""

    def __init__(self, downloads: Downloads, number: int) -> None:
        self.began = time.monotonic_ns()
        self._downloads = downloads
        self._number = number

    def tell(self, notice: Notice) -> None:
        """2 µs. A notice too long for its place stays untold."""
        self._downloads.write(self._number, notice)

    def give_back(self) -> None:
        """What it says last can be read until others have taken all the free places."""
        self._downloads.free(self._number)


class Downloads:
    """The notices of all workers; `index` is which of them this process is. Owned by one event loop."""

    def __init__(self, board: Board, index: int) -> None:
        self._board = board
        self._slots = board.slots_of(index)
        self._next = 0
        self._taken: set[int] = set()
        self._where: dict[bytes, int] = {}  # slots of others that were found to be coming, by key

    def claim(self, key: str) -> Slot | None:
        """A place for a download; None where all are taken."""
        for _ in self._slots:
            number = self._slots[self._next]
            self._next = (self._next + 1) % len(self._slots)
            if number not in self._taken:
                self._taken.add(number)
                self._board.put_key(number, _FREE)  # nobody may take what stands there for the new one's
                self._board.put_notice(number, bytes(_HEAD.size))
                self._board.put_key(number, _key(key))
                return Slot(self, number)
        return None

    def look(self, key: str) -> Notice | None:
        """What is told of a download, the latest under the key; None where nothing is (or just now is written)."""
        raw = _key(key)
        known = self._where.get(raw)
        if known is not None:
            notice = self._read(known, raw)
            if notice is not None and notice.state == "coming":
                return notice
            del self._where[raw]
        latest: Notice | None = None
        for number in self._board.with_key(raw):
            notice = self._read(number, raw)
            if notice is not None and (latest is None or notice.began > latest.began):
                latest = notice
                self._where[raw] = number
        if latest is None or latest.state != "coming":
            self._where.pop(raw, None)
        elif len(self._where) > _KNOWN:
            self._where.clear()
        return latest

    def write(self, number: int, notice: Notice) -> None:
        data = _encoder.encode(notice)
        if len(data) <= NOTICE - _HEAD.size:
            self._board.put_notice(number, _HEAD.pack(len(data), zlib.crc32(data)) + data)

    def free(self, number: int) -> None:
        self._taken.discard(number)

    def _read(self, number: int, raw: bytes) -> Notice | None:
        found = self._board.notice(number)
        length, checksum = _HEAD.unpack_from(found)
        data = found[_HEAD.size : _HEAD.size + length]
        if not length or zlib.crc32(data) != checksum or self._board.key(number) != raw:
            return None
        try:
            return _decoder.decode(data)
        except msgspec.MsgspecError:
            return None  # of bytes that were never one notice


def _key(key: str) -> bytes:
    return hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=KEY).digest()
