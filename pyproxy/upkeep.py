"""Keeping a store in order while it is served from: after a crash before the start, or of a worker beside others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pyproxy.errors import StoreTrouble
from pyproxy.storage.repository import Repositories
from pyproxy.storage.store import Store

log = logging.getLogger(__name__)


class Upkeep:
    """For whoever holds the store: compares disk and index, behind all that is being answered."""

    def __init__(self, store: Store, repositories: Repositories) -> None:
        self._store = store
        self._repositories = repositories
        self._disturbed = asyncio.Event()

    def disturb(self) -> None:
        """Another process has died in the store: what it left half done is looked for."""
        self._disturbed.set()

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Within the block, in a task of its own."""
        task = asyncio.create_task(self._work())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (exc := task.exception()) is not None:
                log.error("disk and index could not be compared", exc_info=exc)

    async def _work(self) -> None:
        await self._repositories.reconcile()
        await self._reconcile()
        while True:
            await self._disturbed.wait()
            self._disturbed.clear()
            await self._after_a_death()

    async def _reconcile(self) -> None:
        try:
            drift = await self._store.reconcile()
        except StoreTrouble as exc:
            log.warning("disk and index could not be compared: %s", exc)
        else:
            log.debug("disk and index agree; drift was %s", drift)
        await shrink(self._store)

    async def _after_a_death(self) -> None:
        try:
            await self._store.disturbed()
            await self._repositories.disturbed()
            await self._repositories.reconcile()
        except StoreTrouble as exc:
            log.warning("what a dead process left in the store stays for now: %s", exc)
        await self._reconcile()


async def shrink(store: Store) -> None:
    """The limit may be lower than when the cache was filled."""
    try:
        await store.cache.shrink()
    except StoreTrouble as exc:
        log.warning("the cache could not be brought down to its limit: %s", exc)
