"""What the supervisor holds for all workers: the store with its upkeep, and the socket that they listen at."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from pyproxy import binding
from pyproxy.binding import CannotListen
from pyproxy.config import Config
from pyproxy.lists_folder import sweep
from pyproxy.storage.repository import open_local
from pyproxy.storage.store import Store, open_store
from pyproxy.upkeep import Upkeep

BACKLOG: Final = 4096


@contextlib.asynccontextmanager
async def holding(config: Config) -> AsyncIterator[tuple[Store, Upkeep]]:
    """The store, its lock held, and its upkeep going on. Raises StoreTrouble."""
    async with contextlib.AsyncExitStack() as stack:
        store = await asyncio.to_thread(
            open_store, config.storage.path, limit=config.storage.max_cache_size, exclusive=True
        )
        stack.push_async_callback(asyncio.to_thread, store.close)
        repositories = await asyncio.to_thread(open_local, config.storage.path, exclusive=True)
        stack.push_async_callback(asyncio.to_thread, repositories.close)
        await asyncio.to_thread(sweep, store.lists, config.remotes)
        upkeep = Upkeep(store, repositories)
        await stack.enter_async_context(upkeep.going_on())
        yield store, upkeep


async def bound(config: Config) -> tuple[socket.socket, binding.UnixFile | None]:
    """The socket that all workers listen at. Raises CannotListen."""
    where = config.server.listen.where
    file: binding.UnixFile | None = None
    try:
        if isinstance(where, Path):
            listening, file = binding.bind_unix(where)
        else:
            listening = await binding.bind_tcp(*where)
        listening.listen(BACKLOG)
    except OSError as exc:
        raise CannotListen(f"cannot listen on {config.server.listen}: {exc.strerror or exc}") from exc
    return listening, file
