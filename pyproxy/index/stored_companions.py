"""What stands beside the archives of one remote, as the index has it: small documents, checked as they are read.

Written behind the answers, those that come together in one commit. Not as blobs: a few KiB in a file of their own, with
its inode, folder and syncs, took twice the processor time of all else that is done for them.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pyproxy.errors import StoreTrouble
from pyproxy.model import Sha256
from pyproxy.storage.records import BESIDE, DocRecord, Records
from pyproxy.storage.writer import Unfinished

log = logging.getLogger(__name__)

PAUSE: Final = 0.002
"""Seconds that one is not written after it came: what comes meanwhile is written with it."""


@dataclass(frozen=True, slots=True)
class Companion:
    """A document and its digest."""

    body: bytes
    digest: Sha256

    @classmethod
    def of(cls, body: bytes) -> Companion:
        return cls(body, Sha256(hashlib.sha256(body).hexdigest()))


class StoredCompanions:
    """By a key, and what vouches for the archive that they stand beside. `pause`: as PAUSE."""

    def __init__(
        self, records: Records, *, name: str, pause: float = PAUSE, clock: Callable[[], float] = time.time
    ) -> None:
        self._records = records
        self._name = name
        self._pause = pause
        self._clock = clock
        self._due: dict[str, tuple[DocRecord, asyncio.Future[None]]] = {}
        """What the next commit will hold."""
        self._writing: asyncio.Task[None] | None = None
        """Writes until nothing is due."""

    def find(self, key: str, verified: str) -> Companion | None:
        """What is stored. One that is damaged counts as none. Raises StoreTrouble."""
        record = self._records.doc(self._name, BESIDE, key)
        if record is None or record.url != verified:
            return None
        found = Companion.of(record.body)
        if found.digest != record.etag:
            log.warning("%s is damaged where it is stored, and found anew", key)
            return None
        return found

    def keep(self, key: str, verified: str, found: Companion) -> asyncio.Future[None]:
        """Stores it, in place of what is there; done once it is, or cannot be."""
        record = DocRecord(found.body, "", found.digest, None, self._clock(), verified)
        _, done = self._due.get(key) or (record, asyncio.get_running_loop().create_future())
        self._due[key] = record, done
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(), name=f"what stands beside files of {self._name}")
        return done

    async def settled(self) -> None:
        """Returns once all is written."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write_all(self) -> None:
        try:
            while self._due:
                await asyncio.sleep(self._pause)
                due, self._due = self._due, {}
                try:
                    await self._write({key: record for key, (record, _) in due.items()})
                except Exception:
                    # What is due next is written all the same.
                    log.exception("unexpected trouble with what stands beside files of remote %s", self._name)
                finally:
                    for _, done in due.values():
                        done.set_result(None)
        finally:
            self._writing = None

    async def _write(self, due: dict[str, DocRecord]) -> None:
        """All of them in one commit; each by itself where that cannot be."""
        try:
            await self._records.put_docs(self._name, BESIDE, due)
        except StoreTrouble as exc:
            hangs = isinstance(exc, Unfinished)  # each by itself would wait as long
            for key, record in due.items():
                if len(due) > 1 and not hangs:
                    await self._write({key: record})
                else:
                    log.warning("%s was served but not kept: %s", key, exc)
