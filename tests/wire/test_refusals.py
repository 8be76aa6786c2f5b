"""What is refused by the connection itself: a fixed line, then the end, and nothing of what the client sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random

import pytest
from aiohttp import web

from tests.fakes.raw_client import RawClient, Unframed, connected
from tests.wire.serving import echo, get, path_only, post, send_for_ever, serving

pytestmark = pytest.mark.usefixtures("parser")

MARK = "zq7"  # in every request, and in no answer

HOST = b"Host: zq7.example\r\n"
POST = b"POST /zq7 HTTP/1.1\r\n" + HOST

SMUGGLING = {
    "length and chunked": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "two equal lengths": POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "length list": POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    "length with plus": POST + b"Content-Length: +4\r\n\r\nabcd",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "hexadecimal length": POST + b"Content-Length: 0x4\r\n\r\nabcd",
    "length with underscore": POST + b"Content-Length: 1_0\r\n\r\n0123456789",
    "empty length": POST + b"Content-Length: \r\n\r\n",
    "length beyond any number": POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "length not in ASCII": POST + "Content-Length: ٤\r\n\r\nabcd".encode(),
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked with vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\nabc",
    "space before colon": POST + b"Content-Length : 4\r\n\r\nabcd",
    "tab before colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "folded line": POST + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "folded first line": b"POST /zq7 HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n",
    "NUL in a value": POST + b"X: a\0b\r\n\r\n",
    "NUL in a name": POST + b"X\0Y: a\r\n\r\n",
    "NUL in the target": b"GET /zq7\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare CR in a value": POST + b"X: a\rContent-Length: 4\r\n\r\nabcd",
    "bare LF in a value": POST + b"X: a\nContent-Length: 4\r\n\r\nabcd",
    "bare LF everywhere": b"GET /zq7 HTTP/1.1\nHost: zq7.example\n\n",
    "bare LF at the end": POST + b"X: a\r\n\n",
    "no colon": POST + b"zq7\r\n\r\n",
    "empty name": POST + b": zq7\r\n\r\n",
    "name with a bracket": POST + b"X(Y: zq7\r\n\r\n",
}

BAD_CHUNKS = {
    "not a number": b"zq7\r\nabc\r\n0\r\n\r\n",
    "negative": b"-1\r\nabc\r\n0\r\n\r\n",
    "with plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "with underscore": b"0_3\r\nabc\r\n0\r\n\r\n",
    "longer than said": b"3\r\nabcd\r\n0\r\n\r\n",
    "bare LF": b"3\nabc\n0\n\n",
    "bare LF after data": b"3\r\nabc\n0\r\n\r\n",
    "bare LF in an extension": b"3;x\ny\r\nabc\r\n0\r\n\r\n",
    "space after size": b"3 \r\nabc\r\n0\r\n\r\n",
    "huge trailer": b"0\r\nX: " + b"zq7" * 4000 + b"\r\n\r\n",
    "many trailers": b"0\r\n" + b"X: zq7\r\n" * 300 + b"\r\n",
}


async def refused(client: RawClient, status: int) -> None:
    """Checks that the next answer is the fixed one of this status, and the last."""
    answer = await client.answer()
    text = {
        400: "Bad Request",
        408: "Request Timeout",
        413: "Content Too Large",
        414: "URI Too Long",
        431: "Request Header Fields Too Large",
        505: "HTTP Version Not Supported",
    }[status]
    assert (answer.version, answer.status, answer.reason) == ("HTTP/1.1", status, text)
    assert (answer.body, answer.closes) == (f"{text}\n".encode(), True)
    assert MARK not in repr(answer)
    assert await client.ends()


@pytest.mark.parametrize("raw", SMUGGLING.values(), ids=SMUGGLING)
async def test_head__that_others_may_read_differently__is_400(raw: bytes) -> None:
    handled = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        handled.append(request.path)
        return web.Response(body=await request.read())

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(raw + get("/zq7-smuggled"))
        await refused(client, 400)
        assert handled == []


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_chunks__that_others_may_read_differently__are_400(chunks: bytes) -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + get("/zq7-smuggled"))
        await refused(client, 400)


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_chunks__broken_and_not_read_by_the_handler__are_followed_by_nothing(
    chunks: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        answer = await client.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        assert (answer.body, answer.closes) == (b"/zq7", True)
        await client.send(chunks + get("/zq7-smuggled"))
        assert await client.ends()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "host", [b"", b"Host: a.example\r\nHost: b.example\r\n", b"Host: a.example\r\nHOST: a.example\r\n"]
)
async def test_host__missing_or_twice__is_400(host: bytes) -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        await client.send(b"GET /zq7 HTTP/1.1\r\n" + host + b"\r\n")
        await refused(client, 400)


@pytest.mark.parametrize(
    "target",
    [
        "http://zq7.example/",
        "http://zq7.example",
        "//",
        "zq7",
        "*",
        "?zq7",
        "https:zq7",
        "/zq7 zq7",
        "/zq7\t",
        "/zq7\x7f",
    ],
)
async def test_target__not_a_path__is_400(target: str) -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        if target == "//":  # the one path among them
            assert (await client.ask(get(target))).status == 200
            return
        await client.send(get(target))
        await refused(client, 400)


async def test_target__asterisk_of_options__is_the_handlers() -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        assert (await client.ask(get("*", method="OPTIONS"))).status == 200


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("HTTP/0.9", 505),
        ("HTTP/1.2", 505),
        ("HTTP/2.0", 505),
        ("HTTP/2", 505),
        ("HTTP/3", 505),
        ("HTTP/11.1", 505),
        ("HTTP/1.10", 505),
        ("HTTP/1", 505),
        ("http/1.1", 400),
        ("HTTP/1.1 ", 400),
        ("HTTP/x.y", 400),
        ("ICY/1.1", 400),
        ("", 400),
    ],
)
async def test_version__other_than_1_0_and_1_1__is_refused(version: str, status: int) -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        await client.send(f"GET /zq7 {version}\r\nHost: x\r\n\r\n".encode())
        await refused(client, status)


async def test_version__http_2_preface__is_505() -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        await refused(client, 505)


@pytest.mark.parametrize(
    "raw", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"get / HTTP/1.1", b"\0", b" GET", b"\n\n"]
)
async def test_noise__is_refused_at_once_and_not_after_the_time_for_a_head(raw: bytes) -> None:
    async with serving(echo, header_timeout=60) as listener, connected(listener.address) as client:
        await client.send(raw)
        await refused(client, 400)


async def test_request_line__to_the_byte() -> None:
    longest = "/" + "p" * (8190 - len("GET / HTTP/1.1"))
    async with serving(path_only) as listener, connected(listener.address) as client:
        assert (await client.ask(get(longest))).body == longest.encode()
        await client.send(get(longest + "p"))
        await refused(client, 414)


async def test_request_line__endless__is_refused_before_its_end() -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        await client.send(b"GET /" + b"p" * 8190)
        await refused(client, 414)


async def test_field__to_the_byte() -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        assert (await client.ask(get("/", "X: " + "v" * 8187))).status == 200
        await client.send(get("/", "X: " + "v" * 8188))
        await refused(client, 431)


async def test_fields__to_the_number() -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        assert (await client.ask(get("/", *["X: v"] * 127))).status == 200
        await client.send(get("/", *["X: v"] * 128))
        await refused(client, 431)


async def test_fields__to_the_byte_together() -> None:
    fields = [f"X{number}: " + "v" * 6500 for number in range(5)]
    rest = 32_768 - len("".join(f"{field}\r\n" for field in ["Host: proxy.example", *fields]))
    assert rest > 10
    async with serving(path_only) as listener, connected(listener.address) as client:
        assert (await client.ask(get("/", *fields, "Y: " + "v" * (rest - 5)))).status == 200
        await client.send(get("/", *fields, "Y: " + "v" * (rest - 4)))
        await refused(client, 431)


async def test_fields__endless__are_refused_before_their_end() -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        await client.send(get()[:-2])
        with pytest.raises(ConnectionError):
            await send_for_ever(client, b"X: " + b"v" * 1000 + b"\r\n")


async def test_refusal__behind_a_request_in_flight__comes_after_its_answer() -> None:
    release = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await release.wait()
        return web.Response(text=request.path)

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(get("/first") + b"GET / HTTP/2.0\r\n\r\n" + get("/zq7"))
        release.set()
        assert (await client.answer()).body == b"/first"
        await refused(client, 505)


async def test_refusal__reaches_a_client_that_is_still_sending(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pyproxy")
    async with serving(path_only) as listener, connected(listener.address) as client:
        await client.send(b"GET /" + b"p" * 9000)
        for _ in range(50):
            await client.send(b"p" * 1000)
            await asyncio.sleep(0)
        await refused(client, 414)
    assert [(record.name, record.message) for record in caplog.records] == [("pyproxy.wire.ending", "refused")]


async def test_refusal__is_logged_without_the_clients_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pyproxy")
    async with serving(echo) as listener, connected(listener.address) as client:
        await client.send(SMUGGLING["no colon"])
        await refused(client, 400)
    assert [record.message for record in caplog.records if record.name.startswith("pyproxy")] == ["refused"]
    assert MARK not in caplog.text


async def test_upgrade__is_ignored_and_no_later_request_is_lost() -> None:
    async with serving(path_only) as listener:
        for protocol in ("h2c", "websocket", "tcp"):
            async with connected(listener.address) as client:
                await client.send(get("/1", "Connection: Upgrade", f"Upgrade: {protocol}") + get("/2"))
                answer = await client.answer()
                # aiohttp's compiled parser drops what came in one piece with it, so the client is told to ask again.
                assert (answer.status, answer.body, answer.closes) == (200, b"/1", True)
                assert await client.ends()


SEEDS = [
    get("/zq7/x?y=1#f", "A: b"),
    post(b"abcdef"),
    get("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    get("zq7.example:443", method="CONNECT"),
    get("*", method="OPTIONS"),
    post(b"abc", "Expect: 100-continue", method="PUT"),
    get("/", "Connection: upgrade", "Upgrade: websocket"),
    post(b"abc", "Content-Encoding: gzip"),
]


def _damaged(dice: random.Random) -> bytes:
    data = bytearray(dice.choice(SEEDS) + dice.choice(SEEDS))
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data))
        match dice.randrange(4):
            case 0:
                data[at] = dice.choice(b"\0\t\n\r /:\x80\xff+-9")
            case 1:
                del data[at : at + dice.randint(1, 5)]
            case 2:
                data[at:at] = bytes([dice.choice(b"\0\n\r :[]%@#?")]) * dice.randint(1, 3)
            case _:
                other = dice.randrange(len(data))
                data[at:at] = data[other : other + dice.randint(1, 30)]
    return bytes(data)


async def test_damaged_requests__are_answered_or_refused_and_never_trouble_the_daemon(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(text=f"{len(str(request.url)) > 0}")  # what a bad Host or target would break

    async def one(raw: bytes) -> set[int]:
        statuses = set()
        async with connected(listener.address) as client:
            await client.send(raw)
            with contextlib.suppress(Unframed, ConnectionError):
                while True:
                    answer = await client.answer()
                    assert answer.status < 400 or MARK not in repr(answer)
                    statuses.add(answer.status)
        return statuses

    dice = random.Random(7)
    async with serving(handler, header_timeout=0.2, body_idle=0.2, keep_alive=0.2) as listener:
        found = await asyncio.gather(*(one(_damaged(dice)) for _ in range(400)))
    assert set().union(*found) == {200, 400, 408, 505}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
