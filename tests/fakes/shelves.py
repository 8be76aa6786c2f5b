"""Where the bytes of a download go in tests, and a client that takes them as the sender gives them."""

from __future__ import annotations

import os
from pathlib import Path

from pyproxy.arrival import Arrival, Landed, Reader
from pyproxy.errors import StoreFull
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.disk import Disk
from pyproxy.storage.temps import Temp


class Shelf:
    """A store in a folder. `full_at`: the disk refuses what goes beyond; `limit`: the cache does."""

    def __init__(self, folder: Path, *, full_at: int | None = None, limit: int = 1 << 40) -> None:
        self.tmp = folder / "tmp"
        self.tmp.mkdir()
        self.limit = limit
        self.kept: dict[str, bytes] = {}
        self.reserved = 0
        self.most = 0
        """The most that lay in the folder when more was about to be written."""

        def fault(what: str) -> None:
            self.most = max(self.most, self.written())
            if full_at is not None and what.startswith("write") and self.written() >= full_at:
                raise OSError(28, "No space left on device")

        self.blobs = Blobs(Disk(folder, fault=fault), root=folder / "blobs", tmp=self.tmp)

    def written(self) -> int:
        return sum(path.stat().st_size for path in self.tmp.iterdir())

    def temp(self) -> Temp:
        return self.blobs.temp()

    async def reserve(self, nbytes: int) -> Place:
        place = Place(self)
        await place.grow(nbytes)
        return place

    async def keep(self, temp: Temp, landed: Landed, room: object) -> None:
        del room
        self.kept[landed.digest] = temp.path.read_bytes()
        temp.discard()

    async def put(self, body: bytes, landed: Landed, room: object) -> None:
        temp = self.temp()
        temp.write(body)
        await self.keep(temp, landed, room)


class Place:
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.nbytes = 0

    async def grow(self, nbytes: int) -> None:
        if self.shelf.reserved + nbytes > self.shelf.limit:
            raise StoreFull("no room")
        self.nbytes += nbytes
        self.shelf.reserved += nbytes

    def release(self) -> None:
        self.shelf.reserved -= self.nbytes
        self.nbytes = 0


async def read(arrival: Arrival, reader: Reader, end: int | None) -> bytes:
    """What a client gets, as the sender sends it. Raises what the download fails with."""
    got = bytearray()
    while end is None or len(got) < end:
        limit = arrival.sendable(end)
        if len(got) < limit:
            spool = arrival.spool
            assert spool is not None
            if len(got) < spool.on_disk:
                got += os.pread(spool.fd, min(limit, spool.on_disk) - len(got), len(got))
            else:
                got += spool.read(len(got), limit - len(got))
            reader.passed(len(got))
            continue
        if arrival.landed is not None:
            break
        await arrival.changed()
    return bytes(got)


async def client(arrival: Arrival) -> bytes:
    with arrival.reading() as reader:
        await arrival.head()
        return await read(arrival, reader, arrival.total)
