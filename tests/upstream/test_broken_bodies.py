"""Bodies that end early, go on too long or do not end: rows 9 to 13, 18, 25 and 26 of the fault catalogue."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pyproxy.errors import ContentWrong, RemoteFailed, StoreTrouble
from pyproxy.model import as_project
from pyproxy.upstream import ListFound, ListMissing, ListUnchanged, PageFound, Validators, client
from tests.fakes.faults import (
    Bomb,
    Chunked,
    Cut,
    Drip,
    Endless,
    Fault,
    Gzip,
    Hang,
    Lie,
    Raw,
    Reset,
    Surplus,
    UntilClose,
)
from tests.fakes.raw_upstream import RawUpstream
from tests.upstream.conftest import Counted, Remotes

A = as_project("a")
PATH = "/simple/a/"
PAGE = b"<html>" + b'<a href="x">x</a>\n' * 20_000 + b"</html>"
NONE = Validators()
Soon = Callable[[], float]


@pytest.fixture(params=["page", "list"])
def fetch(request: pytest.FixtureRequest, up: RawUpstream, tmp_path: Path) -> Callable[..., Awaitable[bytes]]:
    """Asks for a page, and for the list: what is true of one body is true of the other. Gives the bytes."""
    path = tmp_path / "list"

    async def fetch(remotes: Remotes, deadline: float, **settings: Any) -> bytes:  # fields of RemoteSettings
        if request.param == "page":
            found = await remotes(**settings).page(A, NONE, deadline=deadline)
            assert isinstance(found, PageFound)
            return found.body
        up._resources["/simple/"] = up._resources[PATH]
        up._scripts["/simple/"] = up._scripts.pop(PATH, [])
        try:
            listed = await remotes(**settings).list_to(path, NONE, deadline=deadline)
        except RemoteFailed:
            assert not path.exists()
            raise
        assert isinstance(listed, ListFound)
        return path.read_bytes()

    return fetch


Fetch = Callable[..., Awaitable[bytes]]


@pytest.mark.parametrize("fault", [Chunked(), Chunked(step=999), Gzip(), Drip(step=100_000, pause=0.001)])
async def test_body__whole__is_whole(fault: Fault, up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    up.script(PATH, fault)

    assert await fetch(remotes, soon()) == PAGE


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Reset(at=0.4), "body cut at 144005 of 360013 bytes"),
        (Cut(at=0.4), "body cut at 144005 of 360013 bytes"),
        (Cut(at=0), "body cut at 0 of 360013 bytes"),
        (Lie(by=10), "body cut at 360013 of 360023 bytes"),
        (Chunked(last=False), "body cut at 360013 bytes"),
        (Gzip(at=0.9), "cannot be decoded"),
        (Surplus(), "longer than its Content-Length"),
        (Lie(by=-10), "longer than its Content-Length"),
    ],
)
async def test_body__cut_or_too_long__fails(
    fault: Fault, why: str, *, up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon
) -> None:
    up.serve(PATH, PAGE)
    up.script(PATH, fault)

    with pytest.raises(RemoteFailed, match=why):
        await fetch(remotes, soon())

    assert remotes.counted.statuses == ["error"]


async def test_body__longer_than_its_length__the_next_answer_is_right(
    up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    """Row 11: what follows a body may look like an answer. It is nobody's."""
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    up.serve(PATH, PAGE)
    up.serve("/simple/b/", b"<html></html>")
    up.script(PATH, Surplus(evil))
    remote = remotes()
    await remote.page(A, NONE, deadline=soon())

    found = await remote.page(as_project("b"), NONE, deadline=soon())

    assert isinstance(found, PageFound)
    assert found.body == b"<html></html>"


async def test_body__broken_chunk__is_noticed_before_silence_runs_out(remotes: Remotes, soon: Soon) -> None:
    """aiohttp tells nobody who waits for the body."""
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.02)
        writer.write(b"nonsense\r\n")
        await reader.read()
        writer.close()
        done.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        remote = remotes(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", read_timeout=30)
        began = time.monotonic()
        with pytest.raises(RemoteFailed, match="body cut at 5 bytes, it broke HTTP"):
            await remote.page(A, NONE, deadline=soon())
        await done.wait()

    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "page", [b"<html></html>\n", b"<html></HTML><!--SERIAL 1-->", b'{"files": []} \n', b"x" * 9000 + b"</html>"]
)
async def test_page__ends_with_the_connection__and_has_an_end__is_whole(
    page: bytes, up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.serve(PATH, page)
    up.script(PATH, UntilClose())

    found = await remotes().page(A, NONE, deadline=soon())

    assert isinstance(found, PageFound)
    assert found.body == page


async def test_page__ends_with_the_connection__gzip_tells_the_end(
    up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.serve(PATH, b"<a href=x>x</a>")
    up.script(PATH, Gzip(), UntilClose())

    assert isinstance(await remotes().page(A, NONE, deadline=soon()), PageFound)


@pytest.mark.parametrize("page", [PAGE, b'{"files": [{}, {}]}'])
async def test_page__ends_with_the_connection__and_early__fails(
    page: bytes, up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    """Row 12: nothing but the page itself tells that it was cut."""
    up.serve(PATH, page)
    up.script(PATH, UntilClose(at=0.6))

    with pytest.raises(RemoteFailed, match="ends early"):
        await remotes().page(A, NONE, deadline=soon())


async def test_body__trickles__fails_at_the_deadline(
    up: RawUpstream, remotes: Remotes, fetch: Fetch, counted: Counted
) -> None:
    """Row 18: a byte now and then keeps every timeout of silence from firing."""
    up.serve(PATH, PAGE)
    up.script(PATH, Drip(step=1, pause=0.01))
    began = asyncio.get_running_loop().time()

    with pytest.raises(RemoteFailed, match=r"body cut at \d+ of 360013 bytes, not complete in time"):
        await fetch(remotes, began + 0.4)

    assert 0.3 < asyncio.get_running_loop().time() - began < 3
    assert counted.statuses == ["timeout"]


async def test_body__stops_in_the_middle__fails_after_the_read_timeout(
    up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon
) -> None:
    up.serve(PATH, PAGE)
    up.script(PATH, Hang(at=1000))

    with pytest.raises(RemoteFailed, match=r"body cut at 1000 of 360013 bytes, nothing for 0\.3 s"):
        await fetch(remotes, soon(), read_timeout=0.3)


async def test_body__over_the_bound__fails(
    up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 25: told by Content-Length, or found while reading."""
    monkeypatch.setattr(client, "PAGE_LIMIT", len(PAGE) - 1)
    monkeypatch.setattr(client, "LIST_LIMIT", len(PAGE) - 1)
    up.serve(PATH, PAGE)
    for faults in ([], [Chunked()], [Gzip()]):
        up.script(PATH, *faults)
        with pytest.raises(ContentWrong, match=r"bound|more than is taken"):
            await fetch(remotes, soon())


async def test_body__said_to_be_over_the_bound__is_not_waited_for(
    up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE_LIMIT", len(PAGE) - 1)
    monkeypatch.setattr(client, "LIST_LIMIT", len(PAGE) - 1)
    up.serve(PATH, PAGE)
    up.script(PATH, Hang(at=0))

    with pytest.raises(ContentWrong, match="body of 360013 bytes, over the bound of 360012"):
        await fetch(remotes, soon())


async def test_body__exactly_at_the_bound__passes(
    up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE_LIMIT", len(PAGE))
    monkeypatch.setattr(client, "LIST_LIMIT", len(PAGE))
    up.serve(PATH, PAGE)
    for faults in ([], [Chunked()], [Gzip()]):
        up.script(PATH, *faults)
        assert await fetch(remotes, soon()) == PAGE


async def test_body__endless__is_given_up_at_the_bound(
    up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 8 << 20
    monkeypatch.setattr(client, "PAGE_LIMIT", limit)
    monkeypatch.setattr(client, "LIST_LIMIT", limit)
    up.serve(PATH, b"")
    up.script(PATH, Endless())

    with pytest.raises(ContentWrong, match="over the bound"):
        await fetch(remotes, soon())


async def test_body__gzip_bomb__is_given_up_at_the_bound(
    up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 26, in small: 64 MiB out of 64 KiB, bound at 4 MiB."""
    limit = 4 << 20
    monkeypatch.setattr(client, "PAGE_LIMIT", limit)
    monkeypatch.setattr(client, "LIST_LIMIT", limit)
    up.serve(PATH, b"")
    up.script(PATH, Bomb(64 << 20))

    with pytest.raises(ContentWrong, match="cannot be decoded"):
        await fetch(remotes, soon())


async def test_list__gzip_bomb__takes_no_memory(
    up: RawUpstream, remotes: Remotes, soon: Soon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LIST_LIMIT", 32 << 20)
    up.serve("/simple/", b"")
    up.script("/simple/", Bomb(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ContentWrong):
            await remotes().list_to(tmp_path / "list", NONE, deadline=soon())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 16 << 20


@pytest.mark.parametrize("tail", [b"junk", b"\0\0\0\0"])
async def test_body__something_after_the_gzip_stream__fails(
    tail: bytes, up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon
) -> None:
    up.serve(PATH, PAGE)

    def append(reply: object) -> None:
        reply.body += tail  # type: ignore[attr-defined] # a Reply; one line needs no class

    up.script(PATH, Gzip(), append)

    with pytest.raises(ContentWrong, match="cannot be decoded"):
        await fetch(remotes, soon())


async def test_body__two_gzip_streams__are_one_body(
    up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon
) -> None:
    up.serve(PATH, PAGE)

    def twice(reply: object) -> None:
        reply.body += reply.body  # type: ignore[attr-defined] # a Reply; one line needs no class

    up.script(PATH, Gzip(), twice)

    assert await fetch(remotes, soon()) == PAGE + PAGE


async def test_body__not_gzip_at_all__fails(up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon) -> None:
    up.serve(PATH, PAGE, headers={"Content-Encoding": "gzip"})

    with pytest.raises(ContentWrong, match="cannot be decoded"):
        await fetch(remotes, soon())


async def test_body__coded_for_transfer__fails(up: RawUpstream, remotes: Remotes, fetch: Fetch, soon: Soon) -> None:
    up.serve(PATH, b"")
    up.script(PATH, Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))

    with pytest.raises(RemoteFailed, match="transfer coding"):
        await fetch(remotes, soon())


async def test_list__unchanged_or_missing__makes_no_file(
    up: RawUpstream, remotes: Remotes, soon: Soon, tmp_path: Path
) -> None:
    up.serve("/simple/", PAGE, etag='"1"')
    path = tmp_path / "list"

    assert await remotes().list_to(path, Validators('"1"'), deadline=soon()) == ListUnchanged(Validators('"1"'))
    up.remove("/simple/")
    assert await remotes().list_to(path, NONE, deadline=soon()) == ListMissing(404)
    assert not path.exists()


async def test_list__found__is_told_with_its_type_url_and_validators(
    up: RawUpstream, remotes: Remotes, counted: Counted, soon: Soon, tmp_path: Path
) -> None:
    up.serve("/simple/", PAGE, content_type="text/html", etag='"1"')

    found = await remotes().list_to(tmp_path / "list", NONE, deadline=soon())

    assert found == ListFound("text/html", f"{up.url}simple/", Validators('"1"'))
    assert counted.asked_for == [("public", "list", "200")]


async def test_list__that_cannot_be_written__is_our_trouble(
    up: RawUpstream, remotes: Remotes, soon: Soon, tmp_path: Path
) -> None:
    up.serve("/simple/", PAGE)

    with pytest.raises(StoreTrouble, match="cannot be written"):
        await remotes().list_to(tmp_path / "nowhere" / "list", NONE, deadline=soon())


async def test_list__cancelled__leaves_no_file(up: RawUpstream, remotes: Remotes, soon: Soon, tmp_path: Path) -> None:
    up.serve("/simple/", PAGE * 10)
    up.script("/simple/", Hang(at=0.9))
    path = tmp_path / "list"
    task = asyncio.create_task(remotes(read_timeout=30).list_to(path, NONE, deadline=soon()))
    await up.asked("/simple/")
    while not path.exists() or path.stat().st_size == 0:  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.001)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not path.exists()
