"""A blob on its way to several workers: one of them downloads, the others read along in its temporary file.

Who has the turn downloads and tells on the board how many bytes are in the file and how it ended; whoever else wants
the same reads along, and its own readers notice no difference. When the one that downloads dies, another takes over:
what has come is read again and hashed, and the rest is asked for as after any cut. When its disk refuses the rest,
each goes on for itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyproxy import errors
from pyproxy.arrival import Arrival, Landed, Open, Promise, Store
from pyproxy.errors import ContentWrong, PyproxyError, RemoteFailed, StoreTrouble
from pyproxy.fellows import Failure, Notice, Shared, Slot, State, Turn
from pyproxy.model import Sha256
from pyproxy.storage.cache import OpenBlob
from pyproxy.storage.spool import Spool

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.001
LAST_PAUSE: Final = 0.01
"""Seconds between two looks at how far a download has come, the longer the less comes."""

UNTOLD: Final = 5.0
"""Seconds for which a download that another has begun may stay untold; then each fetches for itself."""

STILL: Final = 60.0
"""Seconds for which a download may stand still before those that read along fetch for themselves."""

LONGEST: Final = 256
"""Characters of a validator or an error's text that are told; a longer validator counts as none."""

READ: Final = 1 << 20

_REMOTES: Final = {kind.__name__: kind for kind in (errors.RemoteFailed, errors.RemoteBusy, errors.ContentWrong)}
_OTHERS: Final = {
    kind.__name__: kind for kind in (errors.NotThere, errors.FileUnknown, errors.StoreTrouble, errors.StoreFull)
}


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a download is shared: its key, the folder of temporary files, and what is stored of it by now."""

    fellows: Shared
    key: str
    tmp: Path
    stored: Callable[[], Awaitable[OpenBlob | None]]


class SharedArrival(Arrival):
    """The same for readers."""

    def __init__(
        self,
        name: str,
        remote: str,
        promise: Promise,
        open_: Open,
        store: Store,
        *,
        sharing: Sharing,
        keep: bool,
        retries: int,
        executor: Executor,
    ) -> None:
        super().__init__(name, remote, promise, open_, store, keep=keep, retries=retries, executor=executor)
        self._sharing = sharing
        self._slot: Slot | None = None
        self._following = 0  # when the download that is read along began, by the board
        self._opened = False  # and whether its file is
        self._placed = False  # the bytes go to a file of this download's own, or had to go elsewhere
        self._past: list[Spool] = []  # files that were read along, which readers may still have at hand
        self._alone = False
        self._pause = FIRST_PAUSE
        self._moved = 0.0

    # ------------------------------------------------------------------ whose turn it is

    async def _bring(self) -> None:
        turns, key = self._sharing.fellows.turns, self._sharing.key
        self._moved = _now()
        while (turn := turns.try_take(key)) is None and not self._alone:
            await self._read_along()
            if self.landed is not None:
                return
        if turn is None:
            self.followed = False
            await super()._bring()
        else:
            await self._bring_for_all(turn)

    async def _bring_for_all(self, turn: Turn) -> None:
        slot: Slot | None = None
        try:
            if await self._has_ended() or await self._was_stored():
                return
            self.followed = False
            slot = self._slot = self._sharing.fellows.downloads.claim(self._sharing.key)
            self._tell("coming")
            await super()._bring()
        except asyncio.CancelledError:
            self._tell("left")
            raise
        except PyproxyError as exc:
            self._tell("failed", _as_told(exc))
            raise
        except Exception:
            self._tell("failed", _as_told(RemoteFailed(self.remote, f"{self.name}: the download failed")))
            raise
        finally:
            self._slot = None
            if slot is not None:
                slot.give_back()
            turn.release()

    async def _has_ended(self) -> bool:
        """Whether the download that was read along has landed since the last look. Raises what it failed with."""
        notice = self._sharing.fellows.downloads.look(self._sharing.key) if self._following else None
        if notice is not None and notice.began == self._following:
            await self._takes_in(notice)
        return self.landed is not None

    async def _was_stored(self) -> bool:
        """Whether another worker has stored the file, at the end of a download that was not seen."""
        blob = await self._sharing.stored()
        if blob is None:
            return False
        spool = Spool(None, fd=blob.fd)
        spool.written(blob.size)
        if self.spool is not None and not await self._same_beginning(self.spool, spool):
            spool.close()
            return False
        self._now_in(spool)
        self.followed = True
        self.headed, self.total = True, blob.size
        self.landed = Landed(blob.digest, blob.size, self.promise.algorithm or "framing")
        return True

    # ------------------------------------------------------------------ telling the others

    def _pulse(self) -> None:
        super()._pulse()
        if self.error is None:
            spool = self.spool if self._placed else None
            passing = spool is not None and not (spool.whole_on_disk and spool.temp is not None)
            self._tell("landed" if self.landed is not None else "passing" if passing else "coming")

    def _tell(self, state: State, failure: Failure | None = None) -> None:
        if self._slot is None:
            return
        # While it is taken over, what it has is in another's file.
        spool = self.spool if self._placed else None
        landed, validator = self.landed, self._validator
        self._slot.tell(
            Notice(
                self._slot.began,
                state,
                spool.temp.path.name if spool is not None and spool.temp is not None else "",
                spool.on_disk if spool is not None else 0,
                self.headed,
                self.total,
                validator if validator is not None and len(validator) <= LONGEST else None,
                (landed.digest, landed.size, landed.verified) if landed is not None else None,
                failure,
            )
        )

    # ------------------------------------------------------------------ reading along

    async def _read_along(self) -> None:
        """One look at how far another worker has come. Raises what its download failed with."""
        notice = self._sharing.fellows.downloads.look(self._sharing.key)
        if notice is not None and await self._takes_in(notice):
            self._pause, self._moved = FIRST_PAUSE, _now()
            self._pulse()
            if self.landed is not None:
                return
        if not self._following and _now() - self._moved > UNTOLD:
            self._go_alone("another worker does not tell of its download")
        elif _now() - self._moved > STILL:
            self._go_alone("the download of another worker stands still")
        if not self._alone:
            await asyncio.sleep(self._pause)
            self._pause = min(LAST_PAUSE, self._pause * 1.5)

    async def _takes_in(self, notice: Notice) -> bool:
        """Whether there is anything new in it. Raises what the download failed with."""
        if notice.began != self._following:
            if notice.state in ("failed", "left"):
                return False  # it was over before it was seen: its end is none of ours
            if not self.followed:
                self.followed = True
                self._sharing.fellows.turns.joined()
            self._following, self._opened = notice.began, False
        if notice.state == "failed" and notice.failure is not None:
            self.headed = self.headed or notice.headed
            raise _as_error(notice.failure)
        if notice.state == "left":
            return False
        if notice.state == "passing" or (notice.landed is not None and notice.landed[1] != notice.arrived):
            self._go_alone("the disk refuses the rest")
            return False
        if not self._opened and not await self._opens(notice):
            return False
        return self._advances(notice)

    async def _opens(self, notice: Notice) -> bool:
        """Whether the file of this download can be read along."""
        if not notice.temp:
            return False
        try:
            fd = os.open(self._sharing.tmp / notice.temp, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False  # it was just moved, and will be found stored; or no descriptor is left, for the moment
        spool = Spool(None, fd=fd)
        spool.written(notice.arrived)
        if self.spool is not None and self.spool.size:
            # The one before has died. Readers have got bytes of it, so those of its successor must be the same.
            if spool.size < self.spool.size:
                spool.close()
                return False
            if not await self._same_beginning(self.spool, spool):
                spool.close()
                raise ContentWrong(self.remote, f"{self.name} changed while it was fetched")
        self._opened = True
        self._now_in(spool)
        return True

    def _advances(self, notice: Notice) -> bool:
        before = (self.arrived, self.headed, self.total, self.landed)
        spool = self.spool
        if spool is not None and notice.arrived > spool.size:
            spool.written(notice.arrived - spool.size)
        if notice.headed:
            self.headed, self.total, self._validator = True, notice.total, notice.validator
        if notice.landed is not None:
            digest, size, verified = notice.landed
            self.landed = Landed(Sha256(digest), size, verified)
        return before != (self.arrived, self.headed, self.total, self.landed)

    def _go_alone(self, why: str) -> None:
        log.warning("%s is fetched by this worker too: %s", self.name, why)
        self._alone = True

    # ------------------------------------------------------------------ taking over

    def _fits(self, nbytes: int) -> bool:
        """No: who reads along reads in a file."""
        del nbytes
        return False

    async def _begun(self) -> Spool:
        old = self.spool
        if old is None or not old.size:
            if old is not None:
                self._past.append(old)
            return await super()._begun()
        if self.promise.algorithm is None and self._validator is None:
            # Nothing would tell a splice of two files from either.
            raise RemoteFailed(self.remote, f"{self.name}: the download was given up")
        log.info("%s: going on at %d without the worker that fetched it", self.name, old.size)
        spool = await super()._begun()
        loop = asyncio.get_running_loop()
        room = spool.temp is not None and await self._has_room(old.size)
        if await loop.run_in_executor(self._executor, self._copy, old, spool if room else None):
            spool.written(old.size)
            self._past.append(old)
            return spool
        spool.close()
        if self._temp is not None:
            self._temp.discard()
            self._temp = None
        return old  # what has come is read where it is, the rest is passed through

    def _copy(self, old: Spool, new: Spool | None) -> bool:
        """Hashes what has come, and writes it to the new file; whether all of it is there. Blocking."""
        offset, written = 0, new is not None
        while offset < old.size:
            data = old.read(offset, READ)
            self._hash(data)
            if written and new is not None:
                try:
                    new.write(data)
                except StoreTrouble as exc:
                    log.warning("%s is passed through, not kept: %s", self.name, exc)
                    written = False
            offset += len(data)
        return written

    async def _fetch(self, spool: Spool) -> None:
        self._placed = True
        self._pulse()  # the others learn where the bytes go
        if self.promise.algorithm is not None and spool.size and spool.size == self.total:
            return  # all of it had come, and was not told to be right: the digest tells
        await super()._fetch(spool)

    def _now_in(self, spool: Spool) -> None:
        if self.spool is not None:
            self._past.append(self.spool)
        self.spool = spool

    async def _same_beginning(self, old: Spool, new: Spool) -> bool:
        """Whether the new file begins with all that has come of the old one."""
        if new.size < old.size:
            return False

        def same() -> bool:
            offset = 0
            while offset < old.size:
                data = old.read(offset, READ)
                if new.read(offset, len(data)) != data:
                    return False
                offset += len(data)
            return True

        return await asyncio.get_running_loop().run_in_executor(self._executor, same)

    def _maybe_close(self) -> None:
        super()._maybe_close()
        if self._over and not self._readers:
            for spool in self._past:
                spool.close()


def _as_told(error: PyproxyError) -> Failure:
    kind = type(error).__name__
    if isinstance(error, RemoteFailed):
        return Failure(kind, error.why[:LONGEST], error.remote, error.final, error.retry_after)
    return Failure(kind, str(error)[:LONGEST])


def _as_error(failure: Failure) -> PyproxyError:
    if (other := _OTHERS.get(failure.kind)) is not None:
        return other(failure.text)
    kind = _REMOTES.get(failure.kind, RemoteFailed)
    return kind(failure.remote, failure.text, final=failure.final, retry_after=failure.retry_after)


def _now() -> float:
    return asyncio.get_running_loop().time()
