"""Requests and their answers on one connection: order, framing, bodies, and what handlers may get wrong."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os

import pytest
from aiohttp import web

from pyproxy.wire import Connection, Request
from pyproxy.wire.feed import READ_AHEAD
from pyproxy.wire.intake import PATIENCE
from tests.fakes.raw_client import Unframed, connected
from tests.wire.serving import Gate, connections, echo, get, path_only, post, send_for_ever, serving, until

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
        await client.send(get("/", "X: " + "x" * 500) * 5000)
        await until(lambda: listener.requests_in_flight == 1)
        stuck_at = -1
        while stuck_at != handled:  # an answer that cannot go out holds up the requests behind it
            stuck_at = handled
            await asyncio.sleep(0.1)
        (connection,) = connections(listener)
        assert connection._wire is not None
        # What may wait, and what the loop reads at once; the rest of the 2.8 MB stays with the kernel and the client.
        assert connection._intake.waiting < PATIENCE + 256 * 1024
        assert connection._wire.get_write_buffer_size() < 100_000
        assert (listener.requests_in_flight, handled < 1000) == (1, True)


async def test_requests__pipelined_behind_a_body_that_is_read_late__take_no_memory() -> None:
    body, read, gate = Gate(), asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            await body(request)
            await request.read()
            read.set()
            await gate.wait()
        return web.Response(text=request.path)

    # Both reasons for not reading on at once: the body is more than aiohttp keeps, and much stands behind it.
    async with serving(handler) as listener, connected(listener.address) as client:
        stream = post(bytes(2 * READ_AHEAD + 20_000)) + get("/", "X: " + "x" * 1000) * 3000
        sending = asyncio.create_task(client.send(stream))
        await body.arrived()
        (connection,) = connections(listener)
        await until(lambda: connection._holding)
        body.open.set()
        await read.wait()
        await asyncio.wait([sending], timeout=0.2)
        assert connection._intake.waiting < PATIENCE + 256 * 1024
        gate.set()
        for _ in range(3001):
            await client.answer()
        await sending


async def test_body__not_read__is_not_taken_in() -> None:
    gate = Gate()
    async with serving(gate, linger=60) as listener, connected(listener.address) as client:
        sending = asyncio.create_task(client.send(post(bytes(30_000_000))))
        await gate.arrived()
        await asyncio.wait([sending], timeout=0.2)
        (connection,) = connections(listener)
        assert connection._wire is not None
        assert not connection._wire.is_reading()
        assert not sending.done()
        gate.open.set()
        assert (await client.answer()).status == 200
        await sending


async def test_connection_close__by_the_handler__nothing_more_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = []
    end = Connection._end

    def note(connection: Connection) -> None:
        end(connection)
        idle.append(connection.idle)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(text=request.path)
        if request.path == "/last":
            response.force_close()
        return response

    monkeypatch.setattr(Connection, "_end", note)
    async with serving(handler) as listener, connected(listener.address) as client:
        await client.ask(get("/first"))
        assert (await client.ask(get("/last"))).closes
        assert await client.ends()
    assert idle == [True, False]  # between its last answer and its end, no fast path may answer on it


async def test_connection_close__asked_for__is_given_and_later_requests_are_not_looked_at() -> None:
    seen = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(text="bye")

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(get("/1", "Connection: close") + get("/2"))
        answer = await client.answer()
        assert (answer.closes, await client.ends(), seen) == (True, True, ["/1"])


async def test_connection_close__more_on_its_way__the_answer_is_not_lost_to_a_reset() -> None:
    body = post(bytes(70_000), "Connection: close", path="/1")
    last = [get("/1", "Connection: close"), b"GET /1 HTTP/1.0\r\n\r\n", body]
    async with serving(path_only, linger=60) as listener:
        for request in last:
            async with connected(listener.address) as client:
                await client.send(request + get("/2") * 20_000)
                assert (await client.answer()).body == b"/1"
                assert await client.rest() == b""
            await until(lambda: listener.open_connections == 0)


async def test_connection_close__more_waits_than_is_read_ahead__the_rest_is_read_too() -> None:
    def last(_: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(text="last")
        response.force_close()
        return response

    gate = Gate(last)
    async with serving(gate, linger=60) as listener, connected(listener.address) as client:
        sending = asyncio.create_task(client.send(get() * 200_000))
        await gate.arrived()
        (connection,) = connections(listener)
        await until(lambda: connection._wire is not None and not connection._wire.is_reading())
        gate.open.set()
        assert (await client.answer()).body == b"last"
        await sending


async def test_connection_close__client_that_stays__is_dropped() -> None:
    async with serving(path_only, linger=0.1) as listener, connected(listener.address) as client:
        assert (await client.ask(get("/", "Connection: close"))).status == 200
        assert listener.open_connections == 1
        await until(lambda: listener.open_connections == 0)


async def test_connection_close__client_resets_as_it_is_told__is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take_leave = Connection._take_leave
    told = []
    async with serving(path_only, linger=60) as listener, connected(listener.address) as client:

        def reset_before(connection: Connection) -> None:
            client.reset()
            told.append(connection)
            take_leave(connection)

        monkeypatch.setattr(Connection, "_take_leave", reset_before)
        await client.send(get("/", "Connection: close"))
        await until(lambda: bool(told) and listener.open_connections == 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


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


async def test_body__compressed__is_left_as_it_is() -> None:
    body = gzip.compress(b"x" * 1000)
    async with serving(echo) as listener, connected(listener.address) as client:
        answer = await client.ask(post(body, "Content-Encoding: gzip"))
        assert answer.body.decode() == "POST / " + body.decode("latin-1")


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
        await client.send(post(b"half", "Expect: 100-continue")[:-2])
        await until(lambda: listener.requests_in_flight == 1)
        await client.send(b"lf")
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"POST / half")


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


async def test_connect__refused__closes_at_once_whatever_is_sent_into_the_tunnel() -> None:
    seen = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.method)
        return web.Response(status=405)

    async with serving(handler, linger=60) as listener, connected(listener.address) as client:
        await client.send(get("other.example:443", method="CONNECT") + get("/tunnelled"))
        assert (await client.answer()).closes
        assert await client.ends()
    assert seen == ["CONNECT"]


async def test_connect__answered_with_200__has_no_body_and_is_no_tunnel(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        answer = await client.ask(get("other.example:443", method="CONNECT"), to_head=True)
        assert (answer.status, answer.closes, await client.ends()) == (200, True, True)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


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


async def test_client__shuts_down_its_side__is_answered_all_that_it_asked_whole_and_then_closed() -> None:
    gate = Gate()
    async with serving(gate) as listener, connected(listener.address) as client:
        await client.send(get("/a") + post(b"body", path="/b") + get("/c")[:-2])
        await gate.arrived()
        client.half_close()
        gate.open.set()
        assert [(await client.answer()).body for _ in range(2)] == [b"/a", b"/b"]
        assert await client.ends()


async def test_client__shuts_down_its_side_with_its_last_byte__is_answered() -> None:
    async with serving(echo) as listener:
        for request in (get(), get("/", "Connection: close"), post(b"body"), post(bytes(200_000))):
            async with connected(listener.address) as client:
                await client.send(request)
                client.half_close()
                assert (await client.answer()).status == 200
                assert await client.ends()


async def test_client__shuts_down_its_side_amid_a_request__is_closed_at_once() -> None:
    gate = Gate()
    async with serving(gate, header_timeout=60, body_idle=60) as listener:
        for request in (b"", get()[:-1], post(b"body")[:-1]):
            async with connected(listener.address) as client:
                await client.send(request)
                client.half_close()
                assert await client.ends()
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


async def test_handler__with_something_left_to_do__has_it_done_once_behind_its_answer() -> None:
    sent: list[int] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, Request)
        request.answered = lambda: sent.append(request.writer.output_size)
        return web.Response(text="answer")

    async with serving(handler) as listener, connected(listener.address) as client:
        whole = await client.ask(get())
        assert whole.body == b"answer"
        assert [size > len(whole.body) for size in sent] == [True]


@pytest.mark.parametrize("how", ["raises", "hangs until its client leaves"])
async def test_handler__that_fails__has_done_what_is_left_to_do_all_the_same(how: str) -> None:
    done, entered = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, Request)
        request.answered = done.set
        entered.set()
        if how == "raises":
            raise RuntimeError("a bug")
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(get())
        await asyncio.wait_for(entered.wait(), 5)
        if how != "raises":
            client.reset()
        await asyncio.wait_for(done.wait(), 5)
