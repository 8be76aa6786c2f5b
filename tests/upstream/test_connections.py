"""What a remote's connections do between two questions, and what is said on them: aiohttp's session does none of it."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from pyproxy.errors import FileUnknown, RemoteFailed
from pyproxy.model import as_project
from pyproxy.upstream import Missing, PageFound, SmallFound, Unchanged, Upstream, Validators, connections, exchange
from tests.fakes.certificates import Certificates
from tests.fakes.faults import Gate, UntilClose
from tests.fakes.raw_upstream import RawUpstream
from tests.upstream.conftest import Counted, Remotes

A = as_project("a")
PATH = "/simple/a/"
PAGE = b"<html></html>"
NONE = Validators()
Soon = Callable[[], float]
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + PAGE


@dataclass
class Calls:
    """What a server saw of its callers."""

    url: str = ""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    """Connections that were closed by the caller, by their number."""


@asynccontextmanager
async def answering(answer: bytes = WHOLE) -> AsyncIterator[Calls]:
    """A server that answers every request with the same bytes, and keeps all connections open."""
    calls = Calls()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(calls.writers)
        calls.writers.append(writer)
        try:
            while True:
                calls.heads.append(await reader.readuntil(b"\r\n\r\n"))
                calls.asked.set()
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            calls.ended.put_nowait(number)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        calls.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/simple/"
        yield calls
        for writer in calls.writers:
            writer.close()


def kept_by(remote: Upstream) -> list[connections.Channel]:
    """The connections to the one host that was asked."""
    made = remote._exchange._connections
    assert made is not None
    [channels] = made._unused.values()
    return channels


# ---------------------------------------------------------------------- kept


async def test_connection__serves_one_question_after_the_other_of_any_kind(
    up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.serve(PATH, PAGE, etag='"1"')
    up.serve("/files/a.whl", b"x" * 100_000)
    remote = remotes()
    url = f"{up.url}files/a.whl"

    await remote.page(A, NONE, deadline=soon())
    assert await remote.page(A, Validators('"1"'), deadline=soon()) == Unchanged(Validators('"1"'))
    assert (await remote.head(url)).size == 100_000
    async with remote.stream(url, start=50_000) as stream:
        assert b"".join([chunk async for chunk in stream.chunks()]) == b"x" * 50_000
    assert isinstance(await remote.page(as_project("none"), NONE, deadline=soon()), Missing)
    with pytest.raises(FileUnknown):
        await remote.head(f"{up.url}files/none.whl")
    assert isinstance(await remote.small(url, kind="metadata", limit=1 << 20, deadline=soon()), SmallFound)

    assert up.count() == 7
    assert up.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n" + PAGE,
        b"HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\n" + PAGE,
        WHOLE + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ],
)
async def test_connection__that_is_not_to_be_used_again__is_closed(answer: bytes, remotes: Remotes, soon: Soon) -> None:
    async with answering(answer) as calls:
        remote = remotes(calls.url)

        for number in range(2):
            found = await remote.page(A, NONE, deadline=soon())
            assert isinstance(found, PageFound)
            assert found.body == PAGE
            assert await calls.ended.get() == number


@pytest.mark.parametrize("answer", [b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 13\r\n\r\n" + PAGE])
async def test_connection__of_http_1_0__is_kept_where_it_says_so(answer: bytes, remotes: Remotes, soon: Soon) -> None:
    async with answering(answer) as calls:
        remote = remotes(calls.url)
        for _ in range(2):
            await remote.page(A, NONE, deadline=soon())

        assert len(calls.writers) == 1


async def test_connection__that_ends_the_body__is_not_used_again(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    up.script(PATH, UntilClose(), times=None)
    remote = remotes()
    for _ in range(2):
        assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)

    assert up.connections == 2


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_connection__answer_that_has_no_body_whatever_it_says__leaves_it_open(
    status: bytes, remotes: Remotes, soon: Soon
) -> None:
    async with answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 13\r\n\r\n") as calls:
        remote = remotes(calls.url)
        for _ in range(2):
            with pytest.raises(RemoteFailed, match=r"answered (204|304)"):
                await remote.small(f"{calls.url}a", kind="json", limit=100, deadline=soon())

        assert len(calls.writers) == 1


async def test_connection__something_comes_unasked__is_not_used_again(remotes: Remotes, soon: Soon) -> None:
    """A server may say good-bye on a connection that it finds idle: that is no answer to the next question."""
    async with answering() as calls:
        remote = remotes(calls.url)
        await remote.page(A, NONE, deadline=soon())
        [channel] = kept_by(remote)
        calls.writers[0].write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil")
        while not channel.protocol.should_close:  # noqa: ASYNC110 - nobody tells of it, which is the point
            await asyncio.sleep(0)

        found = await remote.page(A, NONE, deadline=soon())

    assert isinstance(found, PageFound)
    assert found.body == PAGE


async def test_connection__unused_for_long__is_closed(
    remotes: Remotes, soon: Soon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "KEPT", 0.01)
    async with answering() as calls:
        remote = remotes(calls.url)
        await asyncio.gather(*(remote.page(as_project(name), NONE, deadline=soon()) for name in "abc"))

        assert {await calls.ended.get() for _ in range(3)} == {0, 1, 2}
        await remote.page(A, NONE, deadline=soon())

    assert len(calls.writers) == 4


async def test_connection__used_last__is_used_first(remotes: Remotes, soon: Soon) -> None:
    """So those that are too many grow old, and go."""
    async with answering() as calls:
        remote = remotes(calls.url)
        await asyncio.gather(*(remote.page(as_project(name), NONE, deadline=soon()) for name in "abc"))
        last = kept_by(remote)[-1]

        await remote.page(A, NONE, deadline=soon())

        assert kept_by(remote)[-1] is last
        assert len(calls.writers) == 3


async def test_connection__of_a_question_that_is_given_up__is_closed(remotes: Remotes, soon: Soon) -> None:
    async with answering(WHOLE[:-1]) as calls:
        asked = asyncio.create_task(remotes(calls.url).page(A, NONE, deadline=soon()))
        await calls.asked.wait()
        asked.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asked
        assert await calls.ended.get() == 0


async def test_connection__over_tls__is_kept(remotes: Remotes, soon: Soon, tmp_path: Path) -> None:
    certificates = Certificates.below(tmp_path)
    async with RawUpstream(tls=certificates.serving()) as up:
        up.serve(PATH, PAGE)
        remote = remotes(f"{up.url}simple/", ca=certificates.ca)
        for _ in range(3):
            await remote.page(A, NONE, deadline=soon())
        await remote.close()

    assert up.connections == 1


async def test_close__ends_a_body_that_is_under_way(up: RawUpstream, remotes: Remotes, counted: Counted) -> None:
    up.serve("/files/a.whl", b"x" * 100_000)
    up.script("/files/a.whl", Gate(asyncio.Event(), 50_000))
    remote = remotes(read_timeout=30.0)

    async with asyncio.timeout(5), remote.stream(f"{up.url}files/a.whl") as stream:
        chunks = stream.chunks()
        got = len(await anext(chunks))
        while got < 50_000:
            got += len(await anext(chunks))
        await remote.close()
        with pytest.raises(RemoteFailed, match="body cut at 50000 of 100000 bytes"):
            await anext(chunks)

    assert counted.statuses == ["200"]


async def test_closed__leaves_nothing_for_the_garbage(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    """aiohttp warns of a connection that nobody closed; warnings are errors here."""
    up.serve(PATH, PAGE)
    remote = remotes()
    await asyncio.gather(*(remote.page(A, NONE, deadline=soon()) for _ in range(3)))
    await remote.close()
    del remote
    gc.collect()

    assert not [one for one in gc.get_objects() if isinstance(one, Connection) and one.protocol is not None]


async def test_hosts__more_than_are_remembered__are_asked_all_the_same(
    up: RawUpstream, remotes: Remotes, soon: Soon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_MOST_ROUTES", 1)
    up.serve("/x", b"x")
    remote = remotes()
    for _ in range(2):
        for spelling in ("http://127.0.0.1", "http://localhost"):
            found = await remote.small(f"{spelling}:{up.port}/x", kind="json", limit=9, deadline=soon())
            assert isinstance(found, SmallFound)

    assert len(remote._exchange._routes) == 1


# ---------------------------------------------------------------------- said


@pytest.mark.parametrize(
    ("base", "host"),
    [
        ("http://index.example", "index.example"),
        ("http://index.example:80", "index.example"),
        ("http://index.example:8080", "index.example:8080"),
        ("http://index.example.", "index.example"),
        ("http://[2606:4700::1111]", "[2606:4700::1111]"),
        ("http://[2606:4700::1111]:8080", "[2606:4700::1111]:8080"),
        ("http://xn--exmple-cua.example", "xn--exmple-cua.example"),
    ],
)
async def test_host__is_told_as_the_url_has_it(
    base: str, host: str, up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    """Asked of a proxy, which is told the same and needs no address."""
    remote = remotes(f"{base}/simple/", proxy=up.url)

    await remote.page(A, NONE, deadline=soon())

    assert up.requests[0].headers["host"] == host
    assert up.requests[0].target == f"{base}/simple/a/"


async def test_request__is_a_line_and_fields_and_nothing_else(remotes: Remotes, soon: Soon) -> None:
    async with answering() as calls:
        remote = remotes(calls.url, headers={"X-Team": "one"})
        await remote.page(A, Validators('"1"', "Sat, 01 Jan 2022 00:00:00 GMT"), deadline=soon())
        await remote.small(f"{calls.url}a.asc?x=1#y", kind="file", limit=100, deadline=soon())

    first, *fields = calls.heads[0].decode().removesuffix("\r\n\r\n").split("\r\n")
    assert first == "GET /simple/a/ HTTP/1.1"
    names = [name for name, _, _ in (line.partition(": ") for line in fields)]
    assert names == ["Host", "User-Agent", "X-Team", "Accept", "Accept-Encoding", "If-None-Match", "If-Modified-Since"]
    assert calls.heads[1].startswith(b"GET /simple/a.asc?x=1 HTTP/1.1\r\n")


async def test_validator_with_a_line_break__is_not_sent(remotes: Remotes, soon: Soon) -> None:
    """It cannot come from an answer. Should one come from elsewhere, no connection and no place is lost by it."""
    async with answering() as calls:
        remote = remotes(calls.url, max_connections=1)
        with pytest.raises(ValueError, match="control characters"):
            await remote.page(A, Validators('"1"\r\nX-Evil: 1'), deadline=soon())

        assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)

    assert len(calls.heads) == 1


async def test_head__answered_with_a_body__fails_and_leaves_nothing_behind(remotes: Remotes, soon: Soon) -> None:
    async with answering() as calls:
        remote = remotes(calls.url)
        with pytest.raises(RemoteFailed, match="broke HTTP"):
            await remote.head(f"{calls.url}a.whl")

        assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)
        assert len(calls.writers) == 2


# ---------------------------------------------------------------------- aiohttp


def test_aiohttp__has_what_connections_are_made_of() -> None:
    """A release that moves one of these must fail here, by name, and not before a remote."""
    parsing = inspect.signature(ResponseHandler.set_response_params).parameters
    assert {
        "skip_payload",
        "read_until_eof",
        "auto_decompress",
        "read_bufsize",
        "max_line_size",
        "max_field_size",
        "max_headers",
    } <= set(parsing)
    assert list(inspect.signature(aiohttp.TCPConnector.connect).parameters) == ["self", "req", "traces", "timeout"]
    for name in ("read", "exception", "set_exception", "is_connected", "should_close"):
        assert hasattr(ResponseHandler, name)
    for name in ("is_eof", "at_eof", "read", "read_nowait", "set_exception"):
        assert hasattr(aiohttp.StreamReader, name)
    for name in ("protocol", "close"):
        assert hasattr(Connection, name)
