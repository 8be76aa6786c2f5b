"""Requests and their answers on one connection: order, framing, bodies, and what handlers may get wrong."""

from __future__ import annotations

import asyncio
import logging
import os
import resource

import pytest
from aiohttp import web

from tests.fakes.raw_client import Unframed, connected
from tests.wire.serving import Gate, echo, get, path_only, post, send_for_ever, serving, until

pytestmark = pytest.mark.usefixtures("parser")


async def test_requests__one_after_the_other__share_a_connection() -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        for number in range(5):
            assert (await client.ask(get(f"/{number}"))).body == f"GET /{number} ".encode()
        assert listener.open_connections == 1


async def test_requests__pipelined__are_answered_in_order_however_long_each_takes() -> None:
    async def slow_first(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.05 if request.path == "/0" else 0)
        return web.Response(text=request.path)

    async with serving(slow_first) as listener, connected(listener.address) as client:
        await client.send(b"".join(get(f"/{number}") for number in range(300)))
        assert [(await client.answer()).body for _ in range(300)] == [f"/{number}".encode() for number in range(300)]


async def test_requests__pipelined_with_bodies__keep_their_bodies() -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        await client.send(b"".join(post(b"b%d" % number, path=f"/{number}") for number in range(20)) + get("/last"))
        for number in range(20):
            assert (await client.answer()).body == b"POST /%d b%d" % (number, number)
        assert (await client.answer()).body == b"GET /last "


async def test_requests__in_any_pieces__are_understood() -> None:
    stream = get("/a") + post(b"xyz" * 10, path="/b") + b"\r\n\r\n" + get("/c")
    async with serving(echo) as listener, connected(listener.address) as client:
        for at in range(len(stream)):
            await client.send(stream[at : at + 1])
        assert [(await client.answer()).body for _ in range(3)] == [b"GET /a ", b"POST /b " + b"xyz" * 10, b"GET /c "]


async def test_requests__5000_pipelined_and_nothing_read__take_no_memory() -> None:
    handled = 0

    async def page(_: web.BaseRequest) -> web.StreamResponse:
        nonlocal handled
        handled += 1
        return web.Response(body=bytes(20_000))

    async with serving(page) as listener, connected(listener.address, receive_buffer=4096) as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await client.send(get("/", "X: " + "x" * 500) * 5000)
        await until(lambda: listener.requests_in_flight == 1)
        stuck_at = -1
        while stuck_at != handled:  # an answer that cannot go out holds up the requests behind it
            stuck_at = handled
            await asyncio.sleep(0.1)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert (listener.requests_in_flight, handled < 1000, grown < 8 * 1024) == (1, True, True)


async def test_connection_close__asked_for__is_given_and_later_requests_are_not_looked_at() -> None:
    seen = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(text="bye")

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(get("/1", "Connection: close") + get("/2"))
        answer = await client.answer()
        assert (answer.closes, await client.ends(), seen) == (True, True, ["/1"])


async def test_http_1_0__closes_unless_it_asks_to_stay() -> None:
    async with serving(path_only) as listener:
        async with connected(listener.address) as client:
            assert (await client.ask(b"GET /a HTTP/1.0\r\n\r\n")).body == b"/a"
            assert await client.ends()
        async with connected(listener.address) as client:
            for _ in range(2):
                answer = await client.ask(b"GET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert (answer.body, answer.field("connection")) == (b"/b", "keep-alive")


async def test_http_1_0__answer_without_length__ends_with_the_connection_even_if_it_asked_to_stay() -> None:
    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"of unknown length")
        return response

    async with serving(stream) as listener, connected(listener.address) as client:
        answer = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert answer.body == b"of unknown length"


async def test_head__leaves_the_connection_in_step() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/stream":
            response = web.StreamResponse()
            response.content_length = 5000
            return response
        return web.Response(
            text="a body" if request.path != "/304" else None, status=304 if request.path == "/304" else 200
        )

    async with serving(handler) as listener, connected(listener.address) as client:
        assert (await client.ask(get(method="HEAD"), to_head=True)).field("content-length") == "6"
        assert (await client.ask(get("/stream", method="HEAD"), to_head=True)).field("content-length") == "5000"
        assert (await client.ask(get("/304"))).status == 304
        assert (await client.ask(get())).body == b"a body"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_body__where_none_is_expected__is_thrown_away_and_the_next_request_is_right(method: str) -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        hidden = get("/hidden")
        await client.send(post(hidden, path="/1", method=method)[:-3])
        assert not (await client.answer(to_head=method == "HEAD")).closes
        await client.send(hidden[-3:] + get("/2"))
        assert (await client.answer()).body == b"/2"


async def test_body__large_where_none_is_expected__costs_the_connection() -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        await client.send(get("/1", "Content-Length: 10000000") + bytes(1000))
        assert (await client.answer()).closes
        assert await client.ends()


async def test_body__chunked__is_read_and_the_connection_then_closes() -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        answer = await client.answer()
        assert (answer.body, answer.closes, await client.ends()) == (b"POST / abcde", True, True)


async def test_body__chunked_with_a_request_behind_it__the_request_is_not_answered() -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n" + get("/hidden"))
        assert (await client.answer()).body == b"POST / "
        assert await client.ends()


async def test_body__larger_than_the_handler_reads_ahead__arrives_whole() -> None:
    body = os.urandom(3_000_000)

    async def count(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.05)  # so that the client runs into flow control
        return web.Response(text=str(sum([len(part) async for part in request.content.iter_any()])))

    async with serving(count) as listener, connected(listener.address) as client:
        await client.send(post(body) + post(body))
        assert [(await client.answer()).body for _ in range(2)] == [b"3000000"] * 2


async def test_body__beyond_the_bound__is_refused_before_the_handler() -> None:
    called = []

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        called.append(1)
        return web.Response()

    async with serving(handler, max_body=1000) as listener, connected(listener.address) as client:
        answer = await client.ask(get("/", "Content-Length: 1001", method="POST"))
        assert (answer.status, answer.body, answer.closes, called) == (413, b"Content Too Large\n", True, [])


async def test_body__chunked_beyond_the_bound__is_refused_while_the_handler_reads() -> None:
    async with serving(echo, max_body=1000) as listener, connected(listener.address) as client:
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST") + b"400\r\n" + bytes(1024) + b"\r\n")
        answer = await client.answer()
        assert (answer.status, answer.closes, await client.ends()) == (413, True, True)


async def test_body__of_framing_alone__is_ended() -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        await client.send(get("/", "Transfer-Encoding: chunked", method="POST"))
        with pytest.raises(ConnectionError):
            await send_for_ever(client, b"5;x=" + b"x" * 4000)  # one chunk whose extension never ends


async def test_expect_continue__is_told_when_the_handler_reads() -> None:
    gate = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await gate.wait()
        return web.Response(body=await request.content.read())

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(get("/", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        reading = asyncio.create_task(client.answer())
        done, _ = await asyncio.wait([reading], timeout=0.1)
        assert not done
        gate.set()
        assert (await reading).status == 100
        answer = await client.ask(b"body")
        assert (answer.status, answer.body, answer.closes) == (200, b"body", False)
        assert (await client.ask(get("/", "Content-Length: 1", method="POST") + b"2")).body == b"2"


async def test_expect_continue__never_read__is_answered_without_and_closes() -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        answer = await client.ask(get("/no", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        assert (answer.status, answer.body, answer.closes) == (200, b"/no", True)
        assert await client.ends()


async def test_expect_continue__body_sent_anyway__no_interim_answer_is_needed() -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        answer = await client.ask(post(b"eager", "Expect: 100-continue"))
        assert (answer.status, answer.body) == (200, b"POST / eager")


async def test_handler__fails__500_in_one_line_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        raise ValueError("the secret of the house")

    async with serving(handler) as listener, connected(listener.address) as client:
        answer = await client.ask(get("/x"))
        assert (answer.status, answer.body, answer.closes) == (500, b"Internal Server Error\n", True)
        assert await client.ends()
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert errors[0].exc_info is not None


@pytest.mark.parametrize("error", [TimeoutError, asyncio.CancelledError, ConnectionResetError, OSError])
async def test_handler__fails_by_whatever__is_500_and_never_silence(error: type[BaseException]) -> None:
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        raise error

    async with serving(handler) as listener, connected(listener.address) as client:
        assert (await client.ask(get())).status == 500


async def test_handler__returns_nothing__is_500() -> None:
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return None  # type: ignore[return-value]  # the mistake

    async with serving(handler) as listener, connected(listener.address) as client:
        assert (await client.ask(get())).status == 500


async def test_handler__raises_an_http_answer__it_is_given() -> None:
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed("PUT", ["GET"])

    async with serving(handler) as listener, connected(listener.address) as client:
        answer = await client.ask(post(b"", method="PUT"))
        assert (answer.status, answer.field("allow"), answer.closes) == (405, "GET", False)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_handler__decides_about_every_method(method: str) -> None:
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=405, headers={"Allow": "GET"})

    target = "other.example:443" if method == "CONNECT" else "/"
    async with serving(handler) as listener, connected(listener.address) as client:
        assert (await client.ask(get(target, method=method))).status == 405


async def test_handler__fails_with_the_answer_half_out__the_client_cannot_take_it_for_whole() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half of ")
        raise ValueError

    async with serving(handler) as listener, connected(listener.address) as client:
        with pytest.raises((Unframed, ConnectionError)):
            await client.ask(get())
    async with serving(handler) as listener, connected(listener.address) as client:
        with pytest.raises(ConnectionError):  # where only the end would tell, a reset does
            await client.ask(b"GET / HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("written", [b"", b"nine byte", b"more than ten bytes"])
async def test_answer__not_as_long_as_it_said__is_cut(written: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 10
        await response.prepare(request)
        await response.write_eof(written)
        return response

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(get())
        with pytest.raises(ConnectionError):
            await client.rest()
    assert "not as long" in caplog.text


async def test_answer__sent_past_the_writer_and_told__keeps_the_connection() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 10
        writer = await response.prepare(request)
        assert writer is not None
        assert request.transport is not None
        fd = os.dup(request.transport.get_extra_info("socket").fileno())
        assert os.write(fd, b"0123456789") == 10
        os.close(fd)
        assert writer.length is not None
        writer.length -= 10
        return response

    async with serving(handler) as listener, connected(listener.address) as client:
        for _ in range(2):
            assert (await client.ask(get())).body == b"0123456789"


async def test_client__goes_away__its_handler_is_cancelled() -> None:
    gate = Gate()
    async with serving(gate) as listener, connected(listener.address) as client:
        await client.send(get())
        await gate.arrived()
        client.reset()
        await asyncio.wait_for(gate.cancelled.wait(), 5)
        await until(lambda: listener.open_connections == 0 and listener.requests_in_flight == 0)


async def test_client__goes_away_while_it_sends_a_body__the_handler_ends() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        started.set()
        try:
            return web.Response(body=await request.read())
        finally:
            ended.set()

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(get("/", "Content-Length: 100", method="POST") + bytes(50))
        await started.wait()
        client.close()
        await asyncio.wait_for(ended.wait(), 5)
        await until(lambda: listener.requests_in_flight == 0)
