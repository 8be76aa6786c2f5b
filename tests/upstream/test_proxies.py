from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pyproxy.errors import RemoteFailed
from pyproxy.model import as_project
from pyproxy.upstream import PageFound, Validators
from tests.fakes.certificates import Certificates
from tests.fakes.dead_ends import closed_port
from tests.fakes.faults import Redirect
from tests.fakes.raw_upstream import RawUpstream
from tests.upstream.conftest import Remotes

A = as_project("a")
PAGE = b"<html></html>"
NONE = Validators()
Soon = Callable[[], float]


@asynccontextmanager
async def tunnelling(port: int, status: str = "200 OK") -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that answers CONNECT and leads every tunnel to the port. Gives its netloc and the heads it got."""
    heads: list[str] = []
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        if not status.startswith("200"):
            writer.close()
            return
        back, there = await asyncio.open_connection("127.0.0.1", port)
        for one, other in ((reader, there), (back, writer)):
            task = asyncio.create_task(copy(one, other))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_http__is_asked_of_the_proxy_by_its_whole_url(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    """The scripted upstream plays the proxy here; the name of the remote is not looked up."""
    up.serve("/simple/a/", PAGE)
    remote = remotes("http://index.example/simple/", proxy=f"http://me:hush@127.0.0.1:{up.port}/")

    for number in range(2):
        assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)
        assert up.requests[number].target == "http://index.example/simple/a/"
        assert up.requests[number].headers["host"] == "index.example"
        assert up.requests[number].headers["proxy-authorization"] == "Basic bWU6aHVzaA=="
    assert up.connections == 1


async def test_https__goes_through_a_tunnel_and_shows_the_proxy_nothing(
    remotes: Remotes, soon: Soon, tmp_path: Path
) -> None:
    certificates = Certificates.below(tmp_path)
    async with RawUpstream(tls=certificates.serving()) as up, tunnelling(up.port) as (proxy, heads):
        up.serve("/simple/a/", PAGE)
        remote = remotes(
            "https://index.example/simple/",
            proxy=f"http://me:hush@{proxy}/",
            ca=certificates.ca,
            password="secret",
            headers={"X-Key": "secret"},
        )

        for _ in range(2):
            assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)
        await remote.close()

        for request in up.requests:
            assert request.headers["x-key"] == "secret"
            assert "proxy-authorization" not in request.headers
    (head,) = heads  # the tunnel is kept
    assert head.startswith("CONNECT index.example:443 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6aHVzaA==\r\n" in head
    assert "secret" not in head
    assert "\r\nAuthorization:" not in head


async def test_proxy_that_refuses__fails(remotes: Remotes, soon: Soon) -> None:
    async with tunnelling(1, "407 Proxy Authentication Required") as (proxy, _):
        remote = remotes("https://index.example/simple/", proxy=f"http://me:hush@{proxy}/")

        with pytest.raises(RemoteFailed, match=r"^remote public: its proxy answered 407$"):
            await remote.page(A, NONE, deadline=soon())


async def test_proxy_that_is_down__fails(remotes: Remotes, soon: Soon) -> None:
    async with closed_port() as proxy:
        with pytest.raises(RemoteFailed, match=r"^remote public: its proxy: connection refused$"):
            await remotes("http://index.example/simple/", proxy=proxy).page(A, NONE, deadline=soon())


async def test_redirect_to_an_address_inside__is_refused_behind_a_proxy_too(
    up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.script("/simple/a/", Redirect("http://169.254.169.254/latest/"))
    remote = remotes("http://index.example/simple/", proxy=up.url)

    with pytest.raises(RemoteFailed, match="inside this network"):
        await remote.page(A, NONE, deadline=soon())

    assert up.count() == 1
