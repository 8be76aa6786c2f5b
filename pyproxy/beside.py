"""A site in a process of its own: over the daemon's store, beside the daemon while it runs, or alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from pyproxy.config import Config
from pyproxy.metrics import Metrics
from pyproxy.site import Machinery, Site, build
from pyproxy.storage.repository import open_local
from pyproxy.storage.store import open_store


@asynccontextmanager
async def beside(config: Config, *, threads: int = 2) -> AsyncIterator[Site]:
    """The site of this configuration, which nobody is served from; `threads` of it write downloads to disk.

    Raises StoreTrouble.
    """
    limit = config.storage.max_cache_size
    with ThreadPoolExecutor(2, "work") as work, ThreadPoolExecutor(threads, "disk") as disk:
        store = open_store(config.storage.path, limit=limit, exclusive=False)
        try:
            repositories = open_local(config.storage.path, exclusive=False)
            try:
                machinery = Machinery(store, repositories, Metrics(), work=work, disk=disk)
                site = build(config, machinery)
                try:
                    yield site
                finally:
                    await machinery.close(site)
            finally:
                await asyncio.to_thread(repositories.close)
        finally:
            await asyncio.to_thread(store.close)
