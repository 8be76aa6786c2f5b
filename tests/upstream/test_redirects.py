"""Redirects, hop by hop, and who is shown credentials: rows 19 and 20 of the fault catalogue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pyproxy.errors import RemoteFailed
from pyproxy.model import as_project
from pyproxy.upstream import PageFound, Validators
from tests.fakes.faults import Redirect
from tests.fakes.raw_upstream import RawUpstream
from tests.upstream.conftest import Counted, Remotes

A = as_project("a")
PATH = "/simple/a/"
PAGE = b"<html></html>"
NONE = Validators()
SECRETS: dict[str, Any] = {"username": "me", "password": "hush", "headers": {"X-Key": "hush"}}
Soon = Callable[[], float]


@pytest.fixture
async def other() -> AsyncIterator[RawUpstream]:
    """Another host; to a remote on loopback it is one that it may lead to."""
    async with RawUpstream("127.0.0.2") as upstream:
        upstream.serve("/there", PAGE, etag='"1"')
        yield upstream


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect__is_followed(
    status: int, up: RawUpstream, remotes: Remotes, counted: Counted, soon: Soon
) -> None:
    up.serve("/simple/moved/", PAGE)
    up.script(PATH, Redirect("../moved/", status))

    found = await remotes().page(A, NONE, deadline=soon())

    assert isinstance(found, PageFound)
    assert found.url == f"{up.url}simple/moved/"
    assert counted.statuses == [str(status), "200"]


@pytest.mark.parametrize("status", [300, 305, 306])
async def test_other_3xx__fails(status: int, up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.script(PATH, Redirect("/simple/moved/", status))

    with pytest.raises(RemoteFailed, match=f"answered {status}"):
        await remotes().page(A, NONE, deadline=soon())


async def test_redirects__five__are_followed(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve("/5", PAGE)
    up.script(PATH, Redirect("/1"))
    for hop in range(1, 5):
        up.script(f"/{hop}", Redirect(f"/{hop + 1}"))

    assert isinstance(await remotes().page(A, NONE, deadline=soon()), PageFound)


@pytest.mark.parametrize("to", [PATH, "/simple/a/?x", "./"])
async def test_redirects__without_end__fail_after_six_requests(
    to: str, up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.script(PATH, Redirect(to), times=None)

    with pytest.raises(RemoteFailed, match="redirected more than 5 times"):
        await remotes(retries=3).page(A, NONE, deadline=soon())

    assert up.count() == 6


@pytest.mark.parametrize(
    "to", [None, "", "file:///etc/passwd", "gopher://127.0.0.1/", "http://u:p@127.0.0.1/", "http://", "http://[", "//"]
)
async def test_redirect__to_nowhere__fails(to: str | None, up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.script(PATH, Redirect(to), times=None)

    with pytest.raises(RemoteFailed):
        await remotes(retries=3).page(A, NONE, deadline=soon())

    assert up.count() == 1


async def test_credentials__go_along_within_the_own_origin(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve("/elsewhere", PAGE)
    up.script(PATH, Redirect("/elsewhere"))

    await remotes(**SECRETS).page(A, NONE, deadline=soon())

    assert [request.headers["x-key"] for request in up.requests] == ["hush", "hush"]
    assert all("authorization" in request.headers for request in up.requests)


async def test_credentials__are_not_shown_to_another_host_or_port(
    up: RawUpstream, other: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    async with RawUpstream() as other_port:
        other_port.serve("/there", PAGE)
        for elsewhere in (other, other_port):
            up.script(PATH, Redirect(f"{elsewhere.url}there"))
            remote = remotes(**SECRETS)
            assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)
            assert (await remote.head(f"{elsewhere.url}there")).size == len(PAGE)

            assert elsewhere.count() == 2
            for request in elsewhere.requests:
                assert not {"authorization", "x-key", "cookie"} & set(request.headers)


async def test_credentials__come_back_with_the_own_origin(
    up: RawUpstream, other: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.serve("/back", PAGE)
    up.script(PATH, Redirect(f"{other.url}away"))
    other.script("/away", Redirect(f"{up.url}back"))

    await remotes(**SECRETS).page(A, NONE, deadline=soon())

    assert "authorization" in up.requests[-1].headers
    assert "authorization" not in other.requests[0].headers


async def test_conditions__go_along(up: RawUpstream, other: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.script(PATH, Redirect(f"{other.url}there"))

    await remotes().page(A, Validators('"1"'), deadline=soon())

    assert other.requests[0].headers["if-none-match"] == '"1"'


async def test_parts__go_along(up: RawUpstream, other: RawUpstream, remotes: Remotes) -> None:
    up.script("/file", Redirect(f"{other.url}there"))

    async with remotes().stream(f"{up.url}file", start=6) as stream:
        assert b"".join([chunk async for chunk in stream.chunks()]) == PAGE[6:]


async def test_file_hosts__bound_redirects(up: RawUpstream, other: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    for hosts in ((), ("files.example",), (f"127.0.0.2:{up.port}",)):
        up.script(PATH, Redirect(f"{other.url}there"))
        with pytest.raises(RemoteFailed, match="file_hosts"):
            await remotes(file_hosts=hosts).page(A, NONE, deadline=soon())
    assert other.connections == 0

    up.script(PATH, Redirect(f"{other.url}there"))
    assert isinstance(await remotes(file_hosts=("127.0.0.2",)).page(A, NONE, deadline=soon()), PageFound)


async def test_file_hosts__bound_links(up: RawUpstream, other: RawUpstream, remotes: Remotes) -> None:
    up.serve("/file", PAGE)
    remote = remotes(file_hosts=("files.example",))

    with pytest.raises(RemoteFailed, match="file_hosts"):
        await remote.head(f"{other.url}there")
    assert (await remote.head(f"{up.url}file")).size == len(PAGE)
    assert other.connections == 0


async def test_hanging_redirect__ends_at_the_deadline(
    up: RawUpstream, other: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.script(PATH, Redirect(f"{other.url}loop"), times=None)
    other.script("/loop", Redirect(f"{up.url}simple/a/"), times=None)

    with pytest.raises(RemoteFailed, match="more than 5 times"):
        await remotes().page(A, NONE, deadline=soon())

    assert up.count() + other.count() == 6
