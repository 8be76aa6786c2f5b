from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pyproxy.errors import ContentWrong, FileUnknown, RemoteFailed
from pyproxy.upstream import FileHead, FileStream, Pace, SmallFound, Upstream, Validators
from pyproxy.upstream.values import Missing, Unchanged
from tests.fakes.faults import (
    Body,
    Chunked,
    Cut,
    Delay,
    Drip,
    Fault,
    Flip,
    Gate,
    Hang,
    Headers,
    Lie,
    Reset,
    Status,
    UntilClose,
)
from tests.fakes.raw_upstream import RawUpstream
from tests.upstream.conftest import Counted, Remotes

PATH = "/files/a-1.0-py3-none-any.whl"
FILE = hashlib.shake_128(b"a wheel").digest(1_000_000)
ETAG = '"wheel"'
Soon = Callable[[], float]


@pytest.fixture
def url(up: RawUpstream) -> str:
    up.serve(PATH, FILE, etag=ETAG)
    return up.url + PATH[1:]


@pytest.fixture(params=["chunks", "lent"], autouse=True)
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is true of a body as aiohttp reads it is true of one that is read past it."""

    async def copied(stream: FileStream) -> AsyncIterator[bytes]:
        async for piece in stream.lent():
            yield bytes(piece)

    if request.param == "lent":
        monkeypatch.setattr(FileStream, "chunks", copied)


async def whole(stream: FileStream) -> bytes:
    return b"".join([chunk async for chunk in stream.chunks()])


async def fetched(remote: Upstream, url: str, *, into: list[bytes] | None = None, **asked: Any) -> bytes:
    """`asked`: start, end and if_range, as `stream` takes them. `into` gets what had come, also where it breaks."""
    got = [] if into is None else into
    async with remote.stream(url, **asked) as stream:
        async for chunk in stream.chunks():
            got.append(chunk)
    return b"".join(got)


# ---------------------------------------------------------------------- whole files


async def test_stream__whole(up: RawUpstream, url: str, remotes: Remotes, counted: Counted) -> None:
    async with remotes().stream(url) as stream:
        assert (stream.status, stream.start, stream.length, stream.total) == (200, 0, len(FILE), len(FILE))
        assert (stream.framed, stream.accepts_ranges, stream.validators) == (True, True, Validators(ETAG))
        assert stream.content_type == "application/octet-stream"
        assert await whole(stream) == FILE

    headers = up.requests[0].headers
    assert headers["accept-encoding"] == "identity"
    assert not {"range", "if-range"} & set(headers)
    assert counted.asked_for == [("public", "file", "200")]


async def test_stream__chunks__are_of_a_bounded_size(url: str, remotes: Remotes) -> None:
    async with remotes().stream(url) as stream:
        assert max([len(chunk) async for chunk in stream.chunks()]) <= 1024 * 1024


async def test_stream__first_bytes__do_not_wait_for_the_last(up: RawUpstream, url: str, remotes: Remotes) -> None:
    gate = asyncio.Event()
    up.script(PATH, Gate(gate, first=1000))
    async with remotes().stream(url) as stream:
        chunks = stream.chunks()

        assert await anext(chunks) == FILE[:1000]
        gate.set()
        assert b"".join([chunk async for chunk in chunks]) == FILE[1000:]


async def test_stream__escapes_and_query__are_sent_as_given(up: RawUpstream, remotes: Remotes) -> None:
    target = "files/a%2Fb/%7e/x%20y.whl?sig=a%26b%3D&x=1"
    up.serve("/" + target.partition("?")[0], FILE)

    assert await fetched(remotes(), up.url + target) == FILE
    assert up.requests[0].target == "/" + target


async def test_stream__chunked__has_no_length_and_is_framed(up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Chunked())
    async with remotes().stream(url) as stream:
        assert (stream.length, stream.total, stream.framed) == (None, None, True)
        assert await whole(stream) == FILE


@pytest.mark.parametrize("at", [1.0, 0.5])
async def test_stream__ends_with_the_connection__is_not_framed(
    at: float, up: RawUpstream, url: str, remotes: Remotes
) -> None:
    """Row 12: a cut body looks like a whole one, and `framed` says that it cannot be told."""
    up.script(PATH, UntilClose(at=at))
    async with remotes().stream(url) as stream:
        assert (stream.length, stream.framed) == (None, False)
        assert await whole(stream) == FILE[: int(len(FILE) * at)]


async def test_stream__wrong_bytes__are_passed_on(up: RawUpstream, url: str, remotes: Remotes) -> None:
    """Row 14: the digest is not known here."""
    up.script(PATH, Flip(at=0.5))

    assert await fetched(remotes(), url) != FILE


async def test_stream__said_to_be_gzip__is_passed_on_as_it_is(up: RawUpstream, url: str, remotes: Remotes) -> None:
    """Some servers take the ending of an sdist for a coding; what was asked for is the file."""
    up.script(PATH, Headers({"Content-Encoding": "gzip"}))

    assert await fetched(remotes(), url) == FILE


@pytest.mark.parametrize("status", [404, 410])
async def test_stream__missing__is_file_unknown(status: int, up: RawUpstream, url: str, remotes: Remotes) -> None:
    """Row 2."""
    up.script(PATH, Status(status), times=None)

    with pytest.raises(FileUnknown, match=f"remote public: answered {status}, it has no such file"):
        await fetched(remotes(retries=3), url)

    assert up.count() == 1


async def test_stream__missing_status__counts_too(up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Status(403))

    with pytest.raises(FileUnknown):
        await fetched(remotes(missing_status=frozenset({403})), url)


@pytest.mark.parametrize("status", [204, 304, 401, 403, 416, 500])
async def test_stream__other_status__fails(status: int, up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Status(status))

    with pytest.raises(RemoteFailed, match=f"answered {status}"):
        await fetched(remotes(), url)


async def test_stream__trouble_before_the_head__is_retried(up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Status(503))
    up.script(PATH, Reset())

    assert await fetched(remotes(retries=2), url) == FILE


async def test_stream__deadline__bounds_the_way_to_the_head(up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Status(500), times=None)
    began = asyncio.get_running_loop().time()

    with pytest.raises(RemoteFailed, match="answered 500"):
        async with remotes(retries=1000).stream(url, deadline=began + 0.3):
            raise AssertionError

    assert asyncio.get_running_loop().time() - began < 3  # a thousand retries take minutes


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Reset(at=0.4), r"body cut at \d+ of 1000000 bytes"),
        (Cut(at=0.4), "body cut at 400000 of 1000000 bytes"),
        (Chunked(last=False), "body cut at 1000000 bytes"),
        (Lie(by=10), "body cut at 1000000 of 1000010 bytes"),
        (Hang(at=0.4), r"body cut at 400000 of 1000000 bytes, nothing for 0\.3 s"),
    ],
)
async def test_stream__trouble_in_the_body__is_raised_and_not_retried(
    fault: Fault, why: str, up: RawUpstream, url: str, remotes: Remotes
) -> None:
    """Rows 9 and 10: whoever stores the file resumes it."""
    up.script(PATH, fault, times=None)
    got: list[bytes] = []
    with pytest.raises(RemoteFailed, match=f"^remote public: {why}$") as caught:
        await fetched(remotes(retries=3, read_timeout=0.3), url, into=got)

    assert FILE.startswith(b"".join(got))
    assert not isinstance(caught.value, ContentWrong)
    assert up.count() == 1
    assert remotes.counted.statuses == ["timeout" if isinstance(fault, Hang) else "error"]


async def test_stream__longer_than_its_length__fails(up: RawUpstream, url: str, remotes: Remotes) -> None:
    """Row 11."""
    up.script(PATH, Lie(by=-10))

    with pytest.raises(ContentWrong, match="longer than its Content-Length"):
        await fetched(remotes(), url)


async def test_stream__body_cut_again_and_again__may_be_asked_for_again(
    up: RawUpstream, url: str, remotes: Remotes
) -> None:
    """A file that is resumed often is no remote that fails: each answer got further."""
    remote = remotes()
    up.script(PATH, Cut(at=0.3), times=5)
    for _ in range(5):
        with pytest.raises(RemoteFailed, match="body cut"):
            await fetched(remote, url)

    assert await fetched(remote, url) == FILE


async def test_stream__trickles__is_given_up(up: RawUpstream, url: str, remotes: Remotes) -> None:
    """Row 18."""
    up.script(PATH, Drip(step=1, pause=0.01))

    with pytest.raises(RemoteFailed, match=r"too slow: \d+ bytes a second"):
        await fetched(remotes(pace=Pace(rate=1000, window=0.2)), url)

    assert remotes.counted.statuses == ["timeout"]


async def test_stream__faster_than_the_least__goes_on(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(PATH, FILE[:5000])
    up.script(PATH, Drip(step=100, pause=0.005))

    assert await fetched(remotes(pace=Pace(rate=50, window=0.05)), up.url + PATH[1:]) == FILE[:5000]


async def test_stream__slow_reader__is_not_the_remotes_fault(url: str, remotes: Remotes) -> None:
    async with remotes(pace=Pace(rate=1e9, window=0.2), read_timeout=0.2).stream(url) as stream:
        got = b""
        async for chunk in stream.chunks():
            got += chunk
            await asyncio.sleep(0.1)

    assert got == FILE


async def test_stream__left_early__frees_the_place(
    up: RawUpstream, url: str, remotes: Remotes, counted: Counted
) -> None:
    remote = remotes(max_connections=1)
    up.serve(PATH, FILE * 20)
    async with remote.stream(url) as stream:
        chunks = stream.chunks()
        await anext(chunks)
        await chunks.aclose()  # type: ignore[attr-defined] # an async generator, as AsyncIterator does not tell

    assert (await remote.head(url)).size == len(FILE) * 20
    assert counted.statuses == ["200", "200"]


async def test_stream__reader_fails__frees_the_place_and_blames_nobody(
    url: str, remotes: Remotes, counted: Counted
) -> None:
    remote = remotes(max_connections=1)
    with pytest.raises(ZeroDivisionError):
        async with remote.stream(url):
            raise ZeroDivisionError

    assert (await remote.head(url)).size == len(FILE)
    assert counted.statuses == ["200", "200"]


async def test_stream__cancelled__frees_the_place(
    up: RawUpstream, url: str, remotes: Remotes, counted: Counted
) -> None:
    remote = remotes(max_connections=1)
    up.script(PATH, Hang(at=0.5))
    task = asyncio.create_task(fetched(remote, url))
    await up.asked(PATH)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (await remote.head(url)).size == len(FILE)
    assert counted.statuses == ["cancelled", "200"]


async def test_stream__seconds__are_those_until_the_head(up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Delay(0.05))
    async with remotes().stream(url) as stream:
        await whole(stream)
        await asyncio.sleep(0.5)

    assert 0.05 <= remotes.counted.seconds[0] < 0.5


# ---------------------------------------------------------------------- parts


async def test_stream__from_an_offset(up: RawUpstream, url: str, remotes: Remotes, counted: Counted) -> None:
    async with remotes().stream(url, start=600_000, if_range=ETAG) as stream:
        assert (stream.status, stream.start, stream.length, stream.total) == (206, 600_000, 400_000, 1_000_000)
        assert await whole(stream) == FILE[600_000:]

    assert up.requests[0].headers["range"] == "bytes=600000-"
    assert up.requests[0].headers["if-range"] == ETAG
    assert counted.statuses == ["206"]


async def test_stream__part__ends_with_the_byte_named(up: RawUpstream, url: str, remotes: Remotes) -> None:
    assert await fetched(remotes(), url, start=10, end=19) == FILE[10:20]
    assert await fetched(remotes(), url, start=0, end=0) == FILE[:1]
    assert await fetched(remotes(), url, start=999_990, end=2_000_000) == FILE[-10:]
    assert [request.headers["range"] for request in up.requests] == ["bytes=10-19", "bytes=0-0", "bytes=999990-2000000"]


async def test_stream__file_has_changed__comes_whole(url: str, remotes: Remotes) -> None:
    async with remotes().stream(url, start=600_000, if_range='"older"') as stream:
        assert (stream.status, stream.start, stream.total) == (200, 0, 1_000_000)
        assert await whole(stream) == FILE


async def test_stream__ranges_not_honoured__comes_whole(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(PATH, FILE, ranges=False)
    async with remotes().stream(up.url + PATH[1:], start=5) as stream:
        assert (stream.status, stream.start, stream.accepts_ranges) == (200, 0, False)


@pytest.mark.parametrize(
    "told", [None, "bytes 0-399999/1000000", "bytes 600001-999999/1000000", "bytes 600000-999999/5", "bytes */1000000"]
)
async def test_stream__part_that_was_not_asked_for__fails(
    told: str | None, up: RawUpstream, url: str, remotes: Remotes
) -> None:
    up.script(PATH, Headers({"Content-Range": told}))

    with pytest.raises(RemoteFailed, match="answered"):
        await fetched(remotes(), url, start=600_000)


async def test_stream__part_of_another_state__fails(up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Headers({"ETag": '"other"'}))

    with pytest.raises(ContentWrong, match="another state"):
        await fetched(remotes(), url, start=600_000, if_range=ETAG)


async def test_stream__part_where_all_was_asked_for__fails(up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Status(206, FILE[:10], {"Content-Range": "bytes 0-9/1000000"}))

    with pytest.raises(ContentWrong, match="part of the file"):
        await fetched(remotes(), url)


async def test_stream__from_beyond_the_end__fails(url: str, remotes: Remotes) -> None:
    with pytest.raises(RemoteFailed, match="answered 416"):
        await fetched(remotes(), url, start=1_000_000)


async def test_stream__part_that_is_cut__fails(up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, UntilClose(at=0.5))

    with pytest.raises(RemoteFailed, match="body cut at 200000 of 400000 bytes"):
        await fetched(remotes(), url, start=600_000)


async def test_stream__part_that_is_too_long__fails(up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Body(FILE[:500_000]), Chunked())

    with pytest.raises(ContentWrong, match="500000 bytes, 400000 promised"):
        await fetched(remotes(), url, start=600_000)


# ---------------------------------------------------------------------- heads


async def test_head__downloads_nothing(up: RawUpstream, url: str, remotes: Remotes, counted: Counted) -> None:
    assert await remotes().head(url) == FileHead(len(FILE), Validators(ETAG), accepts_ranges=True)
    assert [request.method for request in up.requests] == ["HEAD"]
    assert up.sent[PATH] == 0
    assert counted.asked_for == [("public", "file", "200")]


@pytest.mark.parametrize("status", [405, 501, 403, 400])
async def test_head__refused__asks_for_the_first_byte(status: int, up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Status(status))

    assert await remotes().head(url) == FileHead(len(FILE), Validators(ETAG), accepts_ranges=True)
    assert [request.method for request in up.requests] == ["HEAD", "GET"]
    assert up.sent[PATH] == 1


@pytest.mark.parametrize("length", ["0", None])
async def test_head__without_a_size__asks_for_the_first_byte(
    length: str | None, up: RawUpstream, url: str, remotes: Remotes
) -> None:
    up.script(PATH, Chunked() if length is None else Headers({"Content-Length": length}))

    assert (await remotes().head(url)).size == len(FILE)


async def test_head__refused_and_no_ranges__takes_the_length_of_the_whole(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(PATH, FILE, ranges=False)
    up.script(PATH, Status(405))

    assert await remotes().head(up.url + PATH[1:]) == FileHead(len(FILE), Validators(), accepts_ranges=False)


async def test_head__of_an_empty_file(up: RawUpstream, remotes: Remotes) -> None:
    up.serve(PATH, b"", etag=ETAG)

    assert (await remotes().head(up.url + PATH[1:])).size == 0


async def test_head__missing__is_file_unknown(up: RawUpstream, remotes: Remotes) -> None:
    with pytest.raises(FileUnknown):
        await remotes().head(f"{up.url}nowhere")


async def test_head__refused_twice__fails(up: RawUpstream, url: str, remotes: Remotes) -> None:
    up.script(PATH, Status(403), times=2)

    with pytest.raises(RemoteFailed, match="answered 403 Forbidden"):
        await remotes().head(url)


# ---------------------------------------------------------------------- small documents


async def test_small__found(up: RawUpstream, remotes: Remotes, counted: Counted, soon: Soon) -> None:
    up.serve("/a.metadata", b"Name: a\n", etag='"m"', gzip=True, content_type="text/plain")

    found = await remotes().small(f"{up.url}a.metadata", kind="metadata", limit=100, deadline=soon())

    assert found == SmallFound(b"Name: a\n", "text/plain", Validators('"m"'))
    assert up.requests[0].headers["accept"] == "*/*"
    assert counted.asked_for == [("public", "metadata", "200")]


async def test_small__unchanged_and_missing(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve("/a", b"x", etag='"m"')
    remote = remotes(missing_status=frozenset({403}))
    up.script("/gone", Status(403))

    same = await remote.small(f"{up.url}a", kind="json", limit=9, deadline=soon(), validators=Validators('"m"'))
    gone = await remote.small(f"{up.url}gone", kind="provenance", limit=9, deadline=soon())
    nowhere = await remote.small(f"{up.url}nowhere", kind="provenance", limit=9, deadline=soon())

    assert (same, gone, nowhere) == (Unchanged(Validators('"m"')), Missing(403), Missing(404))


async def test_small__over_its_limit__fails(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve("/a", b"x" * 101)
    for faults in ([], [Chunked()]):
        up.script("/a", *faults)
        with pytest.raises(ContentWrong, match="over the bound"):
            await remotes().small(f"{up.url}a", kind="metadata", limit=100, deadline=soon())


async def test_small__asks_for_what_it_is_told_to(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve("/a", b"{}")

    await remotes().small(f"{up.url}a", kind="json", limit=9, deadline=soon(), accept="application/json")

    assert up.requests[0].headers["accept"] == "application/json"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://u:p@127.0.0.1/", "/relative", "http://127.1/"])
async def test_url_that_cannot_be_asked__fails(url: str, remotes: Remotes, counted: Counted, soon: Soon) -> None:
    with pytest.raises(RemoteFailed, match=r"^remote public: led to"):
        await remotes().small(url, kind="metadata", limit=9, deadline=soon())
    with pytest.raises(RemoteFailed, match=r"^remote public: led to"):
        await fetched(remotes(), url)

    assert counted.asked_for == []
