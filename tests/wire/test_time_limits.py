"""Clients that take too long: each wait ends, and nobody who is only slow is cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest
from aiohttp import web

from pyproxy.wire import Handler
from tests.fakes.raw_client import RawClient, connected
from tests.wire.serving import LOCAL, Gate, echo, get, path_only, post, serving, until


async def seconds_until_end(client: RawClient) -> float:
    loop = asyncio.get_running_loop()
    since = loop.time()
    await client.ends()
    return loop.time() - since


async def test_head__nothing_comes__closed_without_a_word() -> None:
    async with serving(echo, header_timeout=0.15) as listener, connected(listener.address) as client:
        assert await client.rest() == b""


async def test_head__dribbles__408_however_steadily_it_comes() -> None:
    async with serving(echo, header_timeout=0.2) as listener, connected(listener.address) as client:
        reading = asyncio.create_task(client.answer())
        with contextlib.suppress(ConnectionError):
            for byte in get("/", "X: " + "x" * 1000):
                await client.send(bytes([byte]))
                await asyncio.wait([reading], timeout=0.01)
                if reading.done():
                    break
        answer = await reading
        assert (answer.status, answer.body, answer.closes) == (408, b"Request Timeout\n", True)


async def test_head__half_of_the_second__408_and_not_the_time_between_requests() -> None:
    async with serving(path_only, header_timeout=0.15) as listener, connected(listener.address) as client:
        assert (await client.ask(get("/1") + get("/2")[:20])).body == b"/1"
        assert (await client.answer()).status == 408


async def test_head__empty_lines_for_ever__do_not_keep_the_connection() -> None:
    async with serving(path_only, keep_alive=0.2) as listener, connected(listener.address) as client:
        await client.ask(get())
        ending = asyncio.create_task(client.ends())
        while not ending.done():
            with contextlib.suppress(ConnectionError):
                await client.send(b"\r\n")
            await asyncio.wait([ending], timeout=0.02)
        assert ending.result()


async def test_between_requests__closed_without_a_word_after_its_own_time() -> None:
    short = serving(path_only, keep_alive=0.6, header_timeout=0.05)
    async with short as listener, connected(listener.address) as client:
        for _ in range(3):
            await client.ask(get())
            await asyncio.sleep(0.1)
        assert 0.3 < await seconds_until_end(client) < 3


async def test_body__stops_half_way__408_and_its_handler_ends() -> None:
    ended = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return web.Response(body=await request.read())
        finally:
            ended.set()

    async with serving(handler, body_idle=0.15) as listener, connected(listener.address) as client:
        answer = await client.ask(post(bytes(100))[:-50])
        assert (answer.status, answer.closes) == (408, True)
        await asyncio.wait_for(ended.wait(), 5)
        await until(lambda: listener.requests_in_flight == 0)


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_body__never_begins__408(framing: str) -> None:
    async with serving(echo, body_idle=0.1) as listener, connected(listener.address) as client:
        assert (await client.ask(get("/", framing, method="POST"))).status == 408


async def test_body__slow_but_steady__is_let_through() -> None:
    async with serving(echo, body_idle=0.2, header_timeout=0.1) as listener, connected(listener.address) as client:
        await client.send(get("/", "Content-Length: 30", method="POST"))
        for _ in range(30):
            await asyncio.sleep(0.015)
            await client.send(b"b")
        assert (await client.answer()).status == 200


async def test_body__that_its_handler_does_not_read_yet__is_not_the_clients_fault() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.4)
        return web.Response(text=str(sum([len(part) async for part in request.content.iter_any()])))

    async with serving(handler, body_idle=0.1) as listener, connected(listener.address) as client:
        sending = asyncio.create_task(client.send(post(bytes(8_000_000))))
        assert (await client.answer()).body == b"8000000"
        await sending


async def test_body__that_its_handler_has_not_asked_for__is_not_the_clients_fault() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response(body=await request.read())

    async with serving(handler, body_idle=0.1) as listener, connected(listener.address) as client:
        answer = await client.ask(get("/", "Content-Length: 2", "Expect: 100-continue", method="POST"))
        assert answer.status == 100
        assert (await client.ask(b"ok")).body == b"ok"


async def test_body__asked_for_and_not_sent__408() -> None:
    async with serving(echo, body_idle=0.1) as listener, connected(listener.address) as client:
        answer = await client.ask(get("/", "Content-Length: 2", "Expect: 100-continue", method="POST"))
        assert (answer.status, (await client.answer()).status) == (100, 408)


async def test_handler__that_takes_its_time__is_waited_for() -> None:
    gate = Gate()
    short = serving(gate, header_timeout=0.05, body_idle=0.05, keep_alive=0.05, send_stall=0.05, linger=0.05)
    async with short as listener, connected(listener.address) as client:
        await client.send(post(b"body"))
        await gate.arrived()
        await asyncio.sleep(0.3)
        gate.open.set()
        assert (await client.answer()).status == 200


async def large(request: web.BaseRequest) -> web.StreamResponse:
    """20 MB in pieces, as they go."""
    response = web.StreamResponse()
    response.content_length = 20_000_000
    await response.prepare(request)
    for _ in range(200):
        await response.write(bytes(100_000))
    return response


async def at_once(_: web.BaseRequest) -> web.StreamResponse:
    """20 MB in one piece, after which the connection closes."""
    response = web.Response(body=bytes(20_000_000))
    response.force_close()
    return response


async def past_the_transport(request: web.BaseRequest) -> web.StreamResponse:
    """20 MB from a file by a descriptor of its own, of which asyncio knows nothing."""
    response = web.StreamResponse()
    response.content_length = 20_000_000
    writer = await response.prepare(request)
    assert writer is not None
    assert writer.length is not None
    assert request.transport is not None
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        out = os.dup(request.transport.get_extra_info("socket").fileno())
        stack.callback(os.close, out)
        source = os.open("/dev/zero", os.O_RDONLY)
        stack.callback(os.close, source)
        data = bytes(1_000_000)
        while writer.length:
            try:
                writer.length -= os.write(out, data[: writer.length])
            except BlockingIOError:
                ready = asyncio.Event()
                loop.add_writer(out, ready.set)
                try:
                    await ready.wait()
                finally:
                    loop.remove_writer(out)
    return response


@pytest.fixture(params=[LOCAL, "unix"], ids=["tcp", "unix"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, int] | Path:
    return tmp_path / "sock" if request.param == "unix" else LOCAL


SENDERS = pytest.mark.parametrize("handler", [large, at_once, past_the_transport])


@SENDERS
async def test_answer__client_reads_nothing__cut(handler: Handler, where: tuple[str, int] | Path) -> None:
    stalling = serving(handler, where=where, send_stall=0.3)
    async with stalling as listener, connected(listener.address, receive_buffer=4096) as client:
        await client.send(get())
        await until(lambda: listener.open_connections == 1)
        await until(lambda: listener.open_connections == 0)
        await until(lambda: listener.requests_in_flight == 0)
        received = 0
        with contextlib.suppress(ConnectionError):  # a reset, where there is such a thing
            while data := await client.receive():
                received += len(data)
        assert received < 20_000_000


@SENDERS
async def test_answer__client_reads_slowly__is_not_cut(handler: Handler, where: tuple[str, int] | Path) -> None:
    # So slowly that the kernel, which calls a socket writable when a third of its buffer is free, takes nothing
    # for longer than the limit.
    stalling = serving(handler, where=where, send_stall=0.15)
    async with stalling as listener, connected(listener.address, receive_buffer=16384) as client:
        await client.send(get())
        loop = asyncio.get_running_loop()
        since = loop.time()
        while loop.time() - since < 0.6:
            assert await client.receive(16384)
            await asyncio.sleep(0.03)
        assert listener.open_connections == 1


async def test_answer__its_end_still_here_when_the_connection_closes__is_waited_for() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.force_close()
        await response.prepare(request)
        assert request.transport is not None
        while not request.transport.get_write_buffer_size():  # until the kernel takes no more
            await response.write(bytes(10_000))
        return response

    hasty = serving(handler, linger=0.05, keep_alive=0.05)
    async with hasty as listener, connected(listener.address, receive_buffer=16384) as client:
        await client.send(get())
        await until(lambda: listener.open_connections == 1 and listener.requests_in_flight == 0)
        await asyncio.sleep(0.2)
        assert len((await client.answer()).body) > 0  # to its last chunk


async def test_answer__reader_that_stops__does_not_hold_up_others() -> None:
    async with serving(large) as listener, connected(listener.address, receive_buffer=4096) as slow:
        await slow.send(get())
        for _ in range(3):
            async with connected(listener.address) as fast:
                assert len((await fast.ask(get())).body) == 20_000_000
        assert listener.requests_in_flight == 1


async def test_refused_client__that_stays__is_dropped() -> None:
    async with serving(echo, linger=0.1) as listener, connected(listener.address) as client:
        assert (await client.ask(b"?")).status == 400
        assert listener.open_connections == 1
        await until(lambda: listener.open_connections == 0)


async def test_client__sends_no_end_of_a_body_that_nobody_reads__is_dropped() -> None:
    async with serving(path_only, linger=0.2) as listener, connected(listener.address) as client:
        assert (await client.ask(get("/", "Content-Length: 1000000000", method="POST"))).status == 200
        with contextlib.suppress(ConnectionError):
            while listener.open_connections:
                await client.send(bytes(10_000))
                await asyncio.sleep(0.001)


async def test_500_connections_of_every_slow_kind__do_not_slow_down_a_working_one() -> None:
    loop = asyncio.get_running_loop()
    kinds = [b"", b"GET / HT", get("/", "Content-Length: 10", method="POST"), get()]
    async with serving(path_only, sweep=0.1, linger=60) as listener, contextlib.AsyncExitStack() as stack:
        for kind in kinds * 125:
            slow = await stack.enter_async_context(connected(listener.address))
            await slow.send(kind)
        client = await stack.enter_async_context(connected(listener.address))
        took = []
        for _ in range(200):
            since = loop.time()
            await client.ask(get())
            took.append(loop.time() - since)
        assert listener.open_connections == 501
        assert sorted(took)[len(took) * 95 // 100] < 0.25
