"""One verified download: fetched, resumed where it is cut, hashed, and put where it is kept.

It belongs to its `Arrival`, not to a request. Readers tail what has come; the last bytes of every answer wait until
the digest of the whole is right, so no response completes with wrong bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Final

from pyproxy.arrival.promise import Landed, Open, Promise, Store
from pyproxy.arrival.tail import Tail
from pyproxy.arrival.written import AT_ONCE, Data, Written, hash_and_write, no_more
from pyproxy.digests import Hasher, hasher, same
from pyproxy.errors import ContentWrong, NotThere, RemoteFailed, StoreTrouble
from pyproxy.model import Sha256
from pyproxy.storage.spool import Spool
from pyproxy.storage.temps import Temp
from pyproxy.upstream import FileStream

log = logging.getLogger(__name__)

SMALL: Final = 256 * 1024
"""Bytes up to which a file is held in memory, hashed on the loop (0.2 ms) and written once it is whole and right: one
hop to a thread for all that the disk has to do, shared with others."""

INLINE: Final = 64 * 1024
"""Chunks below this are hashed and written on the loop: 64 KiB take 0.07 ms there, a hop to a thread 0.1 ms."""

FIRST: Final = 16 * 1024
"""Bytes that readers get before the rest of what came with them is hashed and written: their first byte waits for no
megabyte and for no thread."""

STORING = 0.5
"""Seconds that the end of every answer waits for the file to be stored, which mostly takes some milliseconds."""

SYNC = 16 << 20
"""Bytes after which the disk is told to take what is there: the end of a large file then waits for the last of them,
and not for all, which for 100 MB on a disk of 2 GB/s takes 60 ms."""

STEP: Final = 8 << 20
"""Bytes of room asked for at once where the page does not tell the size: a mere head shall not empty the cache."""


class Arrival(Tail):
    """One verified download that many readers tail.

    Begun with `run`, which its owner awaits as a task. All state is written by that task, on the loop.
    """

    def __init__(
        self,
        name: str,
        remote: str,
        promise: Promise,
        open_: Open,
        store: Store,
        *,
        keep: bool,
        retries: int,
        executor: Executor,
    ) -> None:
        super().__init__(name, remote)
        self.promise = promise
        self.followed = False
        """Another process downloads it, and counts what becomes of it."""
        self._open = open_
        self._store = store
        self._keep = keep
        self._retries = retries
        self._executor = executor
        self._sha256 = hashlib.sha256()
        self._other = _other_hasher(promise)
        self._validator: str | None = None
        self._temp: Temp | None = None
        self._synced = 0
        self._syncing: asyncio.Future[None] | None = None
        self._room_bytes = 0

    async def run(self) -> None:
        """Fetches, verifies and stores. Never raises but for cancellation: errors go to the readers."""
        try:
            await self._bring()
        except (RemoteFailed, NotThere, StoreTrouble) as exc:
            self.error = exc
        except asyncio.CancelledError:
            self.error = self.error or RemoteFailed(self.remote, f"{self.name}: the download was given up")
            raise
        except Exception:
            # The readers must learn of it, whatever it is; the task's owner logs it.
            self.error = RemoteFailed(self.remote, f"{self.name}: the download failed")
            raise
        finally:
            if self._temp is not None:
                self._temp.discard()
            self._over = True
            self._pulse()
            self._maybe_close()

    async def _bring(self) -> None:
        spool = self.spool = await self._begun()
        await self._fetch(spool)
        self._checked = self._check()
        if self._keep and (spool.small or (self._temp is not None and spool.whole_on_disk)):
            await self._land(spool, self._checked)
            self._temp = None
        else:
            self.landed = self._checked
            self._pulse()

    async def _land(self, spool: Spool, landed: Landed) -> None:
        """Stores it; who has got all of it may then count on that, also after a crash, unless the disk is slow."""

        def tell() -> None:
            self.landed = landed
            self._pulse()

        # A timer: a task for the storing and a wait for it took twice the time.
        slow = asyncio.get_running_loop().call_later(STORING, tell)
        try:
            await self._store_it(spool, landed)
        finally:
            slow.cancel()
        if self.landed is None:
            tell()

    async def _store_it(self, spool: Spool, landed: Landed) -> None:
        temp = self._temp
        try:
            if self._syncing is not None:
                await asyncio.wait([self._syncing])  # what it finds wrong must be known before the file is handed over
            if self._room is None:  # nothing was written yet
                self._room = await self._store.reserve(landed.size)
            if temp is not None:
                await self._store.keep(temp, landed, self._room)
            else:
                await self._store.put(spool.body(), landed, self._room)
        except StoreTrouble as exc:
            if temp is not None:
                temp.discard()
            log.warning("%s was served but not kept: %s", self.name, exc)

    # ------------------------------------------------------------------ where the bytes go

    async def _begun(self) -> Spool:
        """Into memory, as long as it may be a small file."""
        spool = Spool(None, small=True)
        if not self._fits(self.promise.size or 0):
            await self._spill(spool)
        return spool

    def _fits(self, nbytes: int) -> bool:
        """Whether a file that has so many bytes at least may be a small one."""
        return nbytes <= SMALL and (self.total is None or self.total <= SMALL)

    async def _spill(self, spool: Spool) -> None:
        """On to the disk with what has come, and where it refuses that, through the window."""
        try:
            self._temp = self._store.temp()
            # Small until it has moved: while room is made, its readers pass bytes that belong into the file.
            if await self._has_room(spool.size):
                spool.move(self._temp)
        except StoreTrouble as exc:
            log.warning("%s is passed through, not kept: %s", self.name, exc)
        finally:
            spool.small = False

    # ------------------------------------------------------------------ from the remote

    async def _fetch(self, spool: Spool) -> None:
        attempt = 0
        while True:
            offset = self.arrived
            try:
                async with self._open(offset, self._validator) as stream:
                    self._begin(stream)
                    await self._take(spool, stream, skip=0 if stream.status == HTTPStatus.PARTIAL_CONTENT else offset)
                return
            except ContentWrong:
                raise
            except RemoteFailed as exc:
                # Only what can be verified, or resumed under a validator, may be spliced.
                resumable = self.headed and (self._validator is not None or self.promise.algorithm is not None)
                attempt = 0 if self.arrived - offset > INLINE else attempt + 1
                if not resumable or exc.final or attempt > self._retries:
                    raise
                log.info("%s: %s; resuming at %d", self.name, exc, self.arrived)
                await asyncio.sleep(min(2.0, 0.1 * 2**attempt))

    def _begin(self, stream: FileStream) -> None:
        whole = stream.total if stream.status == HTTPStatus.PARTIAL_CONTENT else stream.length
        promised = self.promise.size
        if whole is not None and promised is not None and whole != promised:
            raise ContentWrong(self.remote, f"{self.name} is {whole} bytes, its page says {promised}")
        if self.total is not None and whole is not None and whole != self.total:
            raise ContentWrong(self.remote, f"{self.name} changed while it was fetched")
        if not stream.framed and promised is None and self.promise.algorithm is None:
            raise ContentWrong(self.remote, f"{self.name}: neither length nor digest tells where it ends")
        if self.total is None:
            self.total = whole if whole is not None else promised
        etag = stream.validators.etag
        validator = etag if etag and not etag.startswith("W/") else None
        if stream.status == HTTPStatus.PARTIAL_CONTENT and etag is None:
            validator = self._validator  # a part is an answer to If-Range: it says that this still holds
        if self.arrived and self.promise.algorithm is None and validator != self._validator:
            # Nothing would tell a splice of two files from either.
            raise ContentWrong(self.remote, f"{self.name} changed while it was fetched")
        self._validator = validator
        self.headed = True
        self._pulse()

    async def _take(self, spool: Spool, stream: FileStream, *, skip: int) -> None:
        """Reads one body to its end. `skip`: bytes at its beginning that are here already."""
        async for chunk in stream.lent():
            data = chunk
            if skip:
                data, skip = chunk[skip:], max(0, skip - len(chunk))
                if not data:
                    continue
            if self.total is not None and self.arrived + len(data) > self.total:
                raise ContentWrong(self.remote, f"{self.name} is longer than the {self.total} bytes it should be")
            if not self.arrived and len(data) > FIRST and not (spool.small and self._fits(len(data))):
                await self._append(spool, stream, data[:FIRST])
                await asyncio.sleep(0)  # the readers send it on
                data = data[FIRST:]
            await self._append(spool, stream, data)
        if self.total is not None and self.arrived < self.total:
            raise RemoteFailed(self.remote, f"body of {self.name} cut at {self.arrived} of {self.total} bytes")

    async def _append(self, spool: Spool, stream: FileStream, data: Data) -> None:
        if spool.small and not self._fits(self.arrived + len(data)):
            await self._spill(spool)
        if spool.whole_on_disk and await self._has_room(self.arrived + len(data)):
            written = await self._write(spool, stream, data)
            spool.written(written.nbytes)
            if written.why is None:
                self._sync_behind(spool)
            else:
                log.warning("%s is passed through, not kept: %s", self.name, written.why)
                spool.hold(bytes(written.refused))
        else:
            self._hash(data)
            spool.hold(bytes(data))
        self._pulse()
        while spool.crowded:
            if not self._readers:
                raise RemoteFailed(self.remote, f"{self.name}: nobody reads it and it cannot be kept")
            if self._waiting >= len(self._readers):
                # Whoever is behind has no use for the bytes yet: a part is not sent to its end before the whole is
                # verified. Waiting for each other would never end, so it loses its place.
                self._readers[min(self._readers, key=self._readers.__getitem__)] = spool.size
                self._forget()
                continue
            self._nudge.clear()
            await self._nudge.wait()

    async def _write(self, spool: Spool, stream: FileStream, data: Data) -> Written:
        if len(data) < INLINE:
            return hash_and_write(self._hash, spool, data, no_more)
        # Beside these no more than has come before: readers of a shorter file do not wait until most of it is here.
        room = min(AT_ONCE, self.arrived, self._room_bytes - self.arrived - len(data))

        def more() -> Data:
            nonlocal room
            piece = stream.more(room)
            room -= len(piece)
            return piece

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, hash_and_write, self._hash, spool, data, more)

    def _sync_behind(self, spool: Spool) -> None:
        """Has the disk take what is there, in a thread and one at a time."""
        if not self._keep or self._temp is None or spool.on_disk - self._synced < SYNC:
            return
        if self._syncing is None or self._syncing.done():
            self._synced = spool.on_disk
            self._syncing = asyncio.get_running_loop().run_in_executor(self._executor, self._temp.sync_so_far)

    def _hash(self, data: Data) -> None:
        self._sha256.update(data)
        if self._other is not None:
            self._other.update(data)

    async def _has_room(self, nbytes: int) -> bool:
        """Whether `nbytes` in all may be on disk, kept later or not; where they may not, memory takes the rest."""
        if nbytes <= self._room_bytes:
            return True
        want = self.promise.size
        if want is None:
            want = -(-nbytes // STEP) * STEP
            if self.total is not None:
                want = min(want, self.total)
        try:
            if self._room is None:
                self._room = await self._store.reserve(want)
            else:
                await self._room.grow(want - self._room_bytes)
        except StoreTrouble as exc:
            log.warning("%s is passed through, not kept: %s", self.name, exc)
            return False
        self._room_bytes = want
        return True

    def _check(self) -> Landed:
        digest = Sha256(self._sha256.hexdigest())
        size = self.arrived
        promised = self.promise.size
        if promised is not None and size != promised:
            raise ContentWrong(self.remote, f"{self.name} has {size} bytes, its page says {promised}")
        algorithm = self.promise.algorithm
        if algorithm is not None:
            found = digest if self._other is None else self._other.hexdigest()
            if not same(found, self.promise.hashes[algorithm]):
                raise ContentWrong(self.remote, f"{self.name} does not have the {algorithm} digest that its page gives")
        return Landed(digest, size, algorithm or "framing")


def _other_hasher(promise: Promise) -> Hasher | None:
    """The hasher for the promised digest, None where SHA-256 (computed anyhow) serves."""
    algorithm = promise.algorithm
    return None if algorithm in (None, "sha256") else hasher(algorithm, promise.hashes[algorithm])
