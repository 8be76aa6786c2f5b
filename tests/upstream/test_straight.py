"""Long bodies that are read past aiohttp, into one buffer; `test_files` tells that they are right and end rightly."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import select
import sys
import threading
from pathlib import Path

import pytest

from pyproxy.errors import ContentWrong, RemoteFailed
from pyproxy.upstream import FileStream, Upstream
from pyproxy.upstream.straight import PIECE, Straight
from tests.fakes.certificates import Certificates
from tests.fakes.faults import Chunked, Cut, Fault, Flip, Reset, Surplus
from tests.fakes.raw_upstream import RawUpstream
from tests.upstream.conftest import Remotes

PATH = "files/a-1.0-py3-none-any.whl"
FILE = hashlib.shake_128(b"a large wheel").digest(8 * PIECE + 321)


def straight_of(stream: FileStream) -> Straight:
    source = stream._answer._source
    assert isinstance(source, Straight)
    return source


async def whole(remote: Upstream, url: str) -> bytes:
    async with remote.stream(url) as stream:
        return b"".join([bytes(piece) async for piece in stream.lent()])


def come_meanwhile(stream: FileStream) -> bytes:
    """In a thread: the next bytes that come, if that is the thread's to read."""
    if (own := straight_of(stream)._socket) is not None:
        select.select([own], [], [], 5)
    return bytes(stream.more(PIECE))


async def test_lent__long_body__lies_in_one_buffer(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(f"/{PATH}", FILE)
    got, buffers = bytearray(), []
    async with remotes().stream(up.url + PATH) as stream:
        async for piece in stream.lent():
            assert isinstance(piece, memoryview)
            got += piece
            buffers.append(piece.obj)

    assert got == FILE
    # What had come with the head lies elsewhere.
    assert len({id(buffer) for buffer in buffers[-2:]}) == 1


@pytest.mark.parametrize("fault", [Chunked(), Flip(at=0.0)])
async def test_lent__chunked_or_short__is_read_by_aiohttp(fault: Fault, up: RawUpstream, remotes: Remotes) -> None:
    body = FILE if isinstance(fault, Chunked) else FILE[:100_000]
    up.serve(f"/{PATH}", body)
    up.script(f"/{PATH}", fault)
    async with remotes().stream(up.url + PATH) as stream:
        got = b"".join([bytes(piece) async for piece in stream.lent()])

        assert (got[1:], bytes(stream.more(PIECE))) == (body[1:], b"")
        assert not isinstance(stream._answer._source, Straight)


async def test_more__gives_what_has_come_in_its_order(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(f"/{PATH}", FILE)
    got, more = bytearray(), 0
    async with remotes().stream(up.url + PATH) as stream:
        async for piece in stream.lent():
            got += piece
            if len(got) < len(FILE) - 2 * PIECE and len(piece) > 100_000:
                here = await asyncio.to_thread(come_meanwhile, stream)
                got += here
                more += len(here)

    assert got == FILE
    assert more > 0


async def test_more__nothing_has_come__gives_nothing(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(f"/{PATH}", FILE)
    async with remotes().stream(up.url + PATH) as stream:
        pieces = stream.lent()
        await anext(pieces)
        while stream.more(PIECE):
            pass  # the server is on this loop, and has no turn

        assert bytes(stream.more(PIECE)) == b""


async def test_more__counts_for_the_length(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(f"/{PATH}", FILE)
    async with remotes().stream(up.url + PATH) as stream:
        total = 0
        async for piece in stream.lent():
            total += len(piece) + len(stream.more(PIECE))

        assert total == stream._answer.got == len(FILE)


async def test_more__over_tls__is_left_to_the_loop(remotes: Remotes, tmp_path: Path) -> None:
    certificates = Certificates.below(tmp_path)
    connections = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(FILE) + FILE)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificates.serving()) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        remote = remotes(f"{url}simple/", ca=certificates.ca)
        for _ in range(2):
            got = bytearray()
            async with remote.stream(url + PATH) as stream:
                async for piece in stream.lent():
                    got += piece
                    assert bytes(stream.more(PIECE)) == b""
                assert straight_of(stream).is_eof()
            assert got == FILE
        await remote.close()

    assert len(connections) == 1


async def test_connection__is_kept_behind_a_long_body(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(f"/{PATH}", FILE)
    remote = remotes()
    for _ in range(3):
        assert await whole(remote, up.url + PATH) == FILE
    assert (await remote.head(up.url + PATH)).size == len(FILE)

    assert up.connections == 1


async def test_connection__more_came_than_promised__is_an_error_and_not_kept(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(f"/{PATH}", FILE)
    up.script(f"/{PATH}", Surplus())
    remote = remotes()
    with pytest.raises(ContentWrong, match="longer than its Content-Length"):
        await whole(remote, up.url + PATH)
    assert (await remote.head(up.url + PATH)).size == len(FILE)

    assert up.connections == 2


async def test_more__while_the_connection_is_closed__reads_from_no_other(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(f"/{PATH}", FILE)
    remote = remotes()
    async with remote.stream(up.url + PATH) as stream:
        await anext(stream.lent())
        straight, ended = straight_of(stream), threading.Event()

        def read_on() -> None:
            while not ended.is_set():
                straight.more(PIECE)

        reading = asyncio.get_running_loop().run_in_executor(None, read_on)
    got = await whole(remote, up.url + PATH)
    ended.set()
    await reading

    assert got == FILE
    assert straight._socket is None


@pytest.mark.parametrize("fault", [None, Cut(), Reset(at=0.5), Surplus()])
async def test_buffer__however_the_body_ends__is_free_before_any_garbage_is_looked_for(
    fault: Fault | None, up: RawUpstream, remotes: Remotes
) -> None:
    up.serve(f"/{PATH}", FILE)
    if fault is not None:
        up.script(f"/{PATH}", fault)
    remote = remotes()
    buffers: list[object] = []

    async def read() -> None:
        async with remote.stream(up.url + PATH) as stream:
            async for _ in stream.lent():
                if not buffers:
                    buffers.append(straight_of(stream)._buffer.obj)

    gc.disable()
    try:
        with contextlib.nullcontext() if fault is None else pytest.raises(RemoteFailed):
            await read()
        await remote.close()  # connections are lost a turn later than they are closed
        await asyncio.sleep(0)

        assert sys.getrefcount(buffers[0]) == sys.getrefcount(bytearray()) + 1
    finally:
        gc.enable()
