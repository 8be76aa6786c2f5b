"""Ports at which nothing good happens: one that refuses connections, one that swallows them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def black_hole(host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A URL whose port swallows connections: it listens, its queue is full, and it never accepts."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listener:
        listener.bind((host, 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        try:
            for _ in range(4):
                caller = socket.socket()
                caller.settimeout(0)
                waiting.append(caller)
                with suppress(TimeoutError):
                    await asyncio.wait_for(loop.sock_connect(caller, address), 0.05)
            yield f"http://{host}:{address[1]}/"
        finally:
            for caller in waiting:
                caller.close()


@asynccontextmanager
async def closed_port(host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A URL whose port refuses connections, and that nobody else gets meanwhile: it is bound, and does not listen."""
    with socket.socket() as bound:
        bound.bind((host, 0))
        yield f"http://{host}:{bound.getsockname()[1]}/"
