"""Bytes to slow clients: whoever takes some keeps his answer, whoever takes none is cut; however they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from pyproxy.app import running
from pyproxy.config import UnixListen
from pyproxy.handlers import send
from pyproxy.handlers.send import Outlet
from pyproxy.pouring import STEP, pour
from pyproxy.wire import Limits, Request, Where
from tests.daemon import Project, configured, noise, one_remote
from tests.fakes.faults import Chunked
from tests.fakes.raw_client import RawClient, connected
from tests.fakes.raw_upstream import RawUpstream
from tests.wire.serving import get, serving, until

NAME = "alpha-1.0.tar.gz"
REQUEST = f"GET /pypi/main/files/up/files/{NAME} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
BODY = noise(12 << 20)
STALL = 0.5
"""Seconds: longer than a busy machine keeps this process from its turn, mostly."""


@pytest.fixture(params=["stored", "arriving", "chunked"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["tcp", "unix"])
async def where(request: pytest.FixtureRequest, way: str, tmp_path: Path) -> AsyncIterator[Where]:
    async with RawUpstream() as up:
        made = Project("alpha")
        made.add(NAME, BODY, **({"size": None} if way == "chunked" else {}))
        made.publish(up)
        if way == "chunked":
            up.script(f"/files/{NAME}", Chunked())
        config = configured(tmp_path, one_remote(up))
        if request.param == "unix":
            config = replace(config, server=replace(config.server, listen=UnixListen(tmp_path / "s")))
        if way == "stored":
            async with running(config) as daemon, connected(daemon.listener.address) as client:
                await client.ask(REQUEST)
                await daemon.machinery.arrivals.close(grace=5)
        async with running(config, limits=Limits(sweep=0.02, linger=0.2, send_stall=STALL)) as daemon:
            yield daemon.listener.address
            async with asyncio.timeout(5):
                while daemon.current.site.users:  # noqa: ASYNC110 - nobody is told of a request's end
                    await asyncio.sleep(0.01)


async def taken(client: RawClient, *, pause: float, most: int, seconds: float) -> int:
    """How many bytes come when they are taken at this pace, for so long."""
    loop = asyncio.get_running_loop()
    over = loop.time() + seconds
    got = 0
    while loop.time() < over:
        piece = await client.receive(most)
        assert piece, "the connection ended"
        got += len(piece)
        await asyncio.sleep(pause)
    return got


async def test_clients__one_takes_nothing_and_one_little_by_little__the_first_alone_is_cut(where: Where) -> None:
    async with connected(where, receive_buffer=4096) as idle, connected(where, receive_buffer=16_384) as slow:
        for client in (idle, slow):
            await client.send(REQUEST)
        assert await idle.receive(1)

        assert await taken(slow, pause=0.03, most=16_384, seconds=3 * STALL) < len(BODY)
        got = 1
        try:
            while piece := await idle.receive():
                got += len(piece)
        except ConnectionError:
            pass  # over TCP
        assert got < len(BODY)


async def test_client__leaves_in_the_middle__leaves_nothing_to_the_collector_of_garbage(tmp_path: Path) -> None:
    stored = tmp_path / NAME
    stored.write_bytes(BODY)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(BODY)
        await response.prepare(request)
        with stored.open("rb") as file:
            try:
                await Outlet(request, response).from_fd(file.fileno(), 0, len(BODY))
            except ConnectionError:
                pass
            finally:
                left.set()
        return response

    def alive() -> list[Request]:
        return [one for one in gc.get_objects() if isinstance(one, Request)]

    left = asyncio.Event()
    gc.collect()
    gc.disable()
    try:
        async with serving(handler) as listener, connected(listener.address, receive_buffer=4096) as client:
            await client.send(get())
            await client.receive(1)
            client.reset()
            await left.wait()
            await until(lambda: not alive())
    finally:
        gc.enable()


async def test_stored_files__many_at_once__go_out_in_smaller_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / NAME
    stored.write_bytes(BODY)
    steps: list[int] = []

    def counted(sock: socket.socket, file: int, start: int, count: int, *, again: bool, most: int) -> int:
        steps.append(most)
        return pour(sock, file, start, count, again=again, most=most)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(BODY)
        await response.prepare(request)
        with stored.open("rb") as file:
            await Outlet(request, response).from_fd(file.fileno(), 0, len(BODY))
        return response

    monkeypatch.setattr(send, "pour", counted)
    async with serving(handler) as listener, contextlib.AsyncExitStack() as stack:
        made = [connected(listener.address, receive_buffer=65_536) for _ in range(20)]
        clients = [await stack.enter_async_context(one) for one in made]
        assert (await clients[0].ask(get())).body == BODY
        assert set(steps) == {STEP}
        for client in clients:
            await client.send(get())
        await until(lambda: send._Flow.under_way == len(clients))
        steps.clear()
        assert (await clients[0].answer()).body == BODY
        assert set(steps) == {send.TURN}
        for client in clients[1:]:
            assert (await client.answer()).body == BODY
        await until(lambda: send._Flow.under_way == 0)
