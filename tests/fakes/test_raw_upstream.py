"""The fake answers as a good server does; what it breaks, the tests of its users show."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.fakes.dead_ends import black_hole, closed_port
from tests.fakes.faults import Delay, Gate, Redirect, Status
from tests.fakes.raw_upstream import RawUpstream
from tests.fakes.resources import Resource

BODY = bytes(range(256)) * 10
ETAG, DATE = '"e"', "Sat, 01 Jan 2022 00:00:00 GMT"


@pytest.fixture
async def up() -> AsyncIterator[RawUpstream]:
    async with RawUpstream() as upstream:
        upstream.serve("/f", BODY, etag=ETAG, last_modified=DATE)
        yield upstream


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.mark.parametrize(
    ("headers", "status", "body", "content_range"),
    [
        ({}, 200, BODY, None),
        ({"Range": "bytes=5-9"}, 206, BODY[5:10], "bytes 5-9/2560"),
        ({"Range": "bytes=2550-9999"}, 206, BODY[-10:], "bytes 2550-2559/2560"),
        ({"Range": "bytes=2550-"}, 206, BODY[-10:], "bytes 2550-2559/2560"),
        ({"Range": "bytes=-10"}, 206, BODY[-10:], "bytes 2550-2559/2560"),
        ({"Range": "bytes=2560-"}, 416, b"", "bytes */2560"),
        ({"Range": "bytes=0-1,4-5"}, 200, BODY, None),
        ({"Range": "bytes=5-9", "If-Range": ETAG}, 206, BODY[5:10], "bytes 5-9/2560"),
        ({"Range": "bytes=5-9", "If-Range": DATE}, 206, BODY[5:10], "bytes 5-9/2560"),
        ({"Range": "bytes=5-9", "If-Range": '"other"'}, 200, BODY, None),
        ({"If-None-Match": f'"x", W/{ETAG}'}, 304, b"", None),
        ({"If-None-Match": '"x"', "If-Modified-Since": DATE}, 200, BODY, None),
        ({"If-Modified-Since": DATE}, 304, b"", None),
    ],
)
async def test_get__conditions_and_ranges(
    headers: dict[str, str],
    status: int,
    body: bytes,
    content_range: str | None,
    *,
    up: RawUpstream,
    client: aiohttp.ClientSession,
) -> None:
    async with client.get(f"{up.url}f", headers=headers) as response:
        assert (response.status, await response.read()) == (status, body)
        assert response.headers.get("Content-Range") == content_range
        assert response.headers["ETag"] == ETAG


async def test_head__tells_the_length_and_sends_nothing(up: RawUpstream, client: aiohttp.ClientSession) -> None:
    async with client.head(f"{up.url}f") as response:
        assert response.headers["Content-Length"] == str(len(BODY))
        assert await response.read() == b""

    assert up.sent["/f"] == 0


async def test_gzip__where_it_is_asked_for(up: RawUpstream, client: aiohttp.ClientSession) -> None:
    up.serve("/page", BODY, gzip=True)
    async with client.get(f"{up.url}page", headers={"Accept-Encoding": "gzip"}) as response:
        assert gzip.decompress(await response.read()) == BODY
    async with client.get(f"{up.url}page", headers={"Accept-Encoding": "identity"}) as response:
        assert await response.read() == BODY


async def test_answer__depends_on_the_request(up: RawUpstream, client: aiohttp.ClientSession) -> None:
    up.answer("/page", lambda request: Resource(request.headers["accept"].encode()))
    async with client.get(f"{up.url}page", headers={"Accept": "text/html"}) as response:
        assert await response.read() == b"text/html"


async def test_scripts__are_used_up_in_order(up: RawUpstream, client: aiohttp.ClientSession) -> None:
    up.script("/f", Status(500), times=2)
    up.script("/f", Redirect("/g"), Delay(0))
    up.script("*", Status(418), times=None)
    statuses = []
    for path in ("f", "f", "f", "f", "g"):
        async with client.get(up.url + path, allow_redirects=False) as response:
            statuses.append(response.status)
    up.heal()
    async with client.get(f"{up.url}f") as response:
        statuses.append(response.status)

    assert statuses == [500, 500, 302, 418, 418, 200]
    assert (up.count(), up.count("/f"), up.count("/g", "GET"), up.count(method="HEAD")) == (6, 5, 1, 0)
    assert up.connections == 1


async def test_gate__counts_who_waits(up: RawUpstream, client: aiohttp.ClientSession) -> None:
    gate = asyncio.Event()
    up.script("/f", Gate(gate, first=10), times=None)
    tasks = [asyncio.create_task(client.get(f"{up.url}f")) for _ in range(3)]
    await up.asked("/f", times=3)
    assert up.live["/f"] == 3
    gate.set()
    for task in tasks:
        async with await task as response:
            assert await response.read() == BODY

    assert (up.live["/f"], up.peak["/f"], up.sent["/f"]) == (0, 3, 3 * len(BODY))


async def test_stop_and_start__on_the_same_port(up: RawUpstream, client: aiohttp.ClientSession) -> None:
    url = up.url
    await up.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(f"{url}f")
    await up.start()

    assert up.url == url
    async with client.get(f"{url}f") as response:
        assert response.status == 200


async def test_dead_ends(client: aiohttp.ClientSession) -> None:
    async with closed_port() as url:
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(url)
    async with black_hole() as url:
        with pytest.raises(TimeoutError):
            await client.get(url, timeout=aiohttp.ClientTimeout(connect=0.1))
