"""A listener with a handler of a few paths, on port 0, and how the tests talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from pyproxy.part import Spool
from pyproxy.wire import Connection, Handler, Limits, Listener
from tests.fakes.raw_client import RawClient

LOCAL = ("127.0.0.1", 0)

QUICK = {"sweep": 0.02, "linger": 0.2}
"""Limits of every test that names no others: looked at often, so that a limit of 0.1 s is kept to about that."""


@contextlib.asynccontextmanager
async def serving(
    handler: Handler,
    *,
    where: tuple[str, int] | Path | socket.socket = LOCAL,
    spool: Spool | None = None,
    **limits: Any,  # Any: fields of Limits
) -> AsyncIterator[Listener]:
    listener = Listener(handler, where, limits=Limits(**{**QUICK, **limits}), spool=spool)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.drain(0)


def get(path: str = "/", *fields: str, method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: proxy.example", *fields, "", ""]).encode("latin-1")


def post(body: bytes, *fields: str, path: str = "/", method: str = "POST") -> bytes:
    return get(path, f"Content-Length: {len(body)}", *fields, method=method) + body


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    """Tells what it was asked, and the body."""
    body = await request.read()
    return web.Response(text=f"{request.method} {request.path} {body.decode('latin-1')}")


async def path_only(request: web.BaseRequest) -> web.StreamResponse:
    """Tells the path, and leaves a body alone."""
    return web.Response(text=request.path)


class Gate:
    """A handler that holds each request until it is let go, and says when one has come and how it went."""

    def __init__(self, answer: Callable[[web.BaseRequest], web.StreamResponse] | None = None) -> None:
        self._answer = answer or (lambda request: web.Response(text=request.path))
        self.entered = asyncio.Semaphore(0)
        self.open = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.running = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.running += 1
        self.entered.release()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.running -= 1
        return self._answer(request)

    async def arrived(self, count: int = 1) -> None:
        """Waits until so many requests have come to the handler."""
        async with asyncio.timeout(10):
            for _ in range(count):
                await self.entered.acquire()


async def until(fact: Callable[[], bool]) -> None:
    """Waits for what has no event of its own. Raises TimeoutError."""
    async with asyncio.timeout(10):
        while not fact():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.005)


async def send_for_ever(client: RawClient, data: bytes) -> None:
    """Ends with ConnectionError, or with TimeoutError where everything is taken."""
    async with asyncio.timeout(10):
        while True:
            await client.send(data)
            await asyncio.sleep(0)


def connections(listener: Listener) -> list[Connection]:
    """The open connections, for tests of what only shows inside."""
    assert listener._server is not None
    return list(listener._server.open)
