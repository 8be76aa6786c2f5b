"""Remotes that cannot be asked, and what is done about it: rows 4 to 8 of the fault catalogue, retries and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pyproxy.errors import FileUnknown, RemoteBusy, RemoteFailed
from pyproxy.model import as_project
from pyproxy.upstream import FailureMemory, PageFound, PageMissing, Validators
from tests.fakes.dead_ends import black_hole, closed_port
from tests.fakes.faults import (
    Cut,
    Delay,
    Fault,
    Gzip,
    Hang,
    Headers,
    Interims,
    ManyHeaders,
    Raw,
    Redirect,
    Reset,
    Status,
    UntilClose,
)
from tests.fakes.raw_upstream import RawUpstream
from tests.upstream.conftest import Clock, Counted, Remotes

A, B = as_project("a"), as_project("b")
PATH = "/simple/a/"
PAGE = b"<html></html>"
NONE = Validators()
Soon = Callable[[], float]


def now() -> float:
    return asyncio.get_running_loop().time()


# ---------------------------------------------------------------------- what fails, and in which words


async def test_refused__is_told_quickly_retries_included(remotes: Remotes, counted: Counted, soon: Soon) -> None:
    """Row 6."""
    async with closed_port() as url:
        began = now()
        with pytest.raises(RemoteFailed, match=r"^remote public: connection refused$"):
            await remotes(url, retries=3).page(A, NONE, deadline=soon())

    assert now() - began < 3
    assert counted.statuses == ["error"] * 4


async def test_unknown_name__is_told_at_once(remotes: Remotes, counted: Counted, soon: Soon) -> None:
    with pytest.raises(RemoteFailed, match=r"^remote public: name not resolved$"):
        await remotes("http://index.invalid/simple/", retries=3).page(A, NONE, deadline=soon())

    assert len(counted.statuses) == 1


async def test_black_hole__fails_after_the_connect_timeout(remotes: Remotes, counted: Counted, soon: Soon) -> None:
    """Row 7."""
    async with black_hole() as url:
        with pytest.raises(RemoteFailed, match=r"^remote public: no connection within 0\.2 s$"):
            await remotes(url, connect_timeout=0.2).page(A, NONE, deadline=soon())

    assert counted.statuses == ["timeout"]


async def test_black_hole__fails_at_the_deadline_retries_included(remotes: Remotes) -> None:
    async with black_hole() as url:
        began = now()
        with pytest.raises(RemoteFailed, match=r"no connection within 0\.2 s"):
            await remotes(url, connect_timeout=0.2, retries=30).page(A, NONE, deadline=began + 0.5)

    assert now() - began < 3  # 30 retries take 6 s and more


async def test_no_time_left__says_nothing_of_the_remote(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    remote = remotes()
    for _ in range(3):
        with pytest.raises(RemoteFailed, match=r"no connection within 0\.0 s"):
            await remote.page(A, NONE, deadline=now() - 1)

    assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)


async def test_black_hole_of_tls__fails_after_the_connect_timeout(remotes: Remotes, soon: Soon) -> None:
    """A server that accepts and never shakes hands."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
    async with silent:
        with pytest.raises(RemoteFailed, match=r"no connection within 0\.2 s"):
            await remotes(url, connect_timeout=0.2).page(A, NONE, deadline=soon())


@pytest.mark.parametrize("fault", [Hang(), Interims(pause=0.01), Delay(30)])
async def test_no_head__fails_after_the_read_timeout(
    fault: Fault, up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    """Row 8."""
    up.serve(PATH, PAGE)
    up.script(PATH, fault, times=None)

    with pytest.raises(RemoteFailed, match=r"^remote public: no answer within 0\.[2-9] s$"):
        await remotes(read_timeout=0.2, retries=1).page(A, NONE, deadline=soon())

    assert up.count() == 2
    assert remotes.counted.statuses == ["timeout", "timeout"]


async def test_no_head__fails_at_the_deadline(up: RawUpstream, remotes: Remotes) -> None:
    up.script(PATH, Hang())
    began = now()

    with pytest.raises(RemoteFailed, match=r"no answer within 0\.[23] s"):
        await remotes().page(A, NONE, deadline=began + 0.25)


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ([ManyHeaders(500)], "broke HTTP"),
        ([Headers({"X-Long": "x" * 9000})], "broke HTTP"),
        ([Raw(b"SSH-2.0-OpenSSH\r\n\r\n")], "broke HTTP"),
        ([Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")], "broke HTTP"),
        ([Raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello")], "broke HTTP"),
        ([Raw(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")], "answered 101"),
        ([Reset()], "connection reset"),
        ([Cut(at=None)], "connection closed without an answer"),
    ],
)
async def test_no_answer_of_use(faults: list[Fault], why: str, up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    up.script(PATH, *faults, times=None)

    with pytest.raises(RemoteFailed, match=f"^remote public: {why}"):
        await remotes().page(A, NONE, deadline=soon())

    assert up.count() == 1  # aiohttp would have asked twice


async def test_interim_answers__that_end__are_skipped(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    up.script(PATH, Interims(count=20, pause=0))

    assert isinstance(await remotes().page(A, NONE, deadline=soon()), PageFound)


async def test_error__holds_no_secret(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    secrets: dict[str, Any] = {"username": "me", "password": "hush", "headers": {"X-Key": "hush"}}
    for fault in (Status(401), Raw(b"hush\r\n\r\n"), Reset(), Status(302, headers={"Location": "http://u:hush@x/"})):
        up.script(PATH, fault)
        with pytest.raises(RemoteFailed) as caught:
            await remotes(**secrets).page(A, NONE, deadline=soon())
        assert "hush" not in str(caught.value)


async def test_closed__fails(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    remote = remotes()
    await remote.close()

    with pytest.raises(RemoteFailed, match="closed"):
        await remote.page(A, NONE, deadline=soon())


async def test_cancelled__passes_through_and_frees_the_place(
    up: RawUpstream, remotes: Remotes, counted: Counted, soon: Soon
) -> None:
    remote = remotes(max_connections=1)
    up.serve(PATH, PAGE)
    up.script(PATH, Hang())
    task = asyncio.create_task(remote.page(A, NONE, deadline=soon()))
    await up.asked(PATH)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)
    assert counted.statuses == ["cancelled", "200"]


# ---------------------------------------------------------------------- retries


@pytest.mark.parametrize(
    "fault",
    [
        Gzip(at=0.5),
        UntilClose(at=0.5),
        Status(500),
        Status(502),
        Status(503),
        Status(504),
        Status(520),
        Status(408),
        Reset(),
        Cut(at=None),
        Cut(at=0.4),
    ],
)
async def test_transient_trouble__is_retried(fault: Fault, up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    up.script(PATH, fault, times=2)

    assert isinstance(await remotes(retries=2).page(A, NONE, deadline=soon()), PageFound)
    assert up.count() == 3


async def test_transient_trouble__is_retried_so_many_times(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.script(PATH, Status(500), times=None)

    with pytest.raises(RemoteFailed, match="answered 500"):
        await remotes(retries=2).page(A, NONE, deadline=soon())

    assert up.count() == 3


@pytest.mark.parametrize("status", [400, 401, 403, 406, 451, 501, 599])
async def test_lasting_trouble__is_not_retried(status: int, up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.script(PATH, Status(status), times=None)

    with pytest.raises(RemoteFailed):
        await remotes(retries=3).page(A, NONE, deadline=soon())

    assert up.count() == 1


async def test_retry__ends_at_the_deadline(up: RawUpstream, remotes: Remotes) -> None:
    up.script(PATH, Status(500), times=None)
    began = now()

    with pytest.raises(RemoteFailed, match="answered 500"):
        await remotes(retries=1000).page(A, NONE, deadline=began + 0.4)

    assert now() - began < 3  # a thousand retries take minutes


async def test_retry__that_is_cut_short_by_the_deadline__leaves_what_was_wrong_before(
    up: RawUpstream, remotes: Remotes
) -> None:
    up.script(PATH, Status(500))
    up.script(PATH, Hang())

    with pytest.raises(RemoteFailed, match="answered 500"):
        await remotes(retries=3).page(A, NONE, deadline=now() + 0.4)

    assert up.count() == 2


async def test_retry_after__small__is_waited_for(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    up.script(PATH, Status(503, headers={"Retry-After": "1"}))
    began = now()

    assert isinstance(await remotes(retries=1).page(A, NONE, deadline=soon()), PageFound)
    assert now() - began >= 1


async def test_retry_after__past_the_deadline__is_not_waited_for(up: RawUpstream, remotes: Remotes) -> None:
    up.script(PATH, Status(429, headers={"Retry-After": "3"}), times=None)
    began = now()

    with pytest.raises(RemoteBusy, match="answered 429 Too Many Requests") as caught:
        await remotes(retries=3).page(A, NONE, deadline=began + 2)

    assert caught.value.retry_after == 3
    assert now() - began < 2


async def test_retry_after__of_more_than_a_few_seconds__is_not_waited_for(
    up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.script(PATH, Status(503, headers={"Retry-After": "6"}), times=None)
    began = now()

    with pytest.raises(RemoteBusy):
        await remotes(retries=3).page(A, NONE, deadline=soon())

    assert now() - began < 3
    assert up.count() == 1


async def test_502_of_another_pyproxy__is_final(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.script(PATH, Status(502, headers={"Proxy-Status": "pyproxy; error=destination_unavailable"}), times=None)

    with pytest.raises(RemoteFailed, match="its own remote failed") as caught:
        await remotes(retries=3).page(A, NONE, deadline=soon())

    assert caught.value.final
    assert up.count() == 1


async def test_kept_connection__closed_by_the_remote_meanwhile__is_no_failure(
    up: RawUpstream, remotes: Remotes, counted: Counted, soon: Soon
) -> None:
    """Even where no retries are configured: the remote has not seen the request."""
    up.serve(PATH, PAGE)
    remote = remotes(retries=0)
    await remote.page(A, NONE, deadline=soon())
    up.script(PATH, Cut(at=None))

    assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)
    assert counted.statuses == ["200", "200"]


# ---------------------------------------------------------------------- memory


async def test_failing_page__is_left_alone_after_the_second_failure(
    up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    """Row 58: one attempt per window."""
    clock = Clock()
    remote = remotes(memory=FailureMemory(clock=clock, draw=lambda: 1.0))
    up.script(PATH, Status(500), times=None)
    messages = set()
    for _ in range(10):
        clock.now += 0.01
        with pytest.raises(RemoteFailed) as caught:
            await remote.page(A, NONE, deadline=soon())
        messages.add(str(caught.value))

    assert up.count() == 2
    assert messages == {"remote public: answered 500 Internal Server Error"}
    up.heal()
    up.serve(PATH, PAGE)
    clock.now += 1
    assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)
    assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)


async def test_probe_that_is_cancelled__lets_another_probe(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    clock = Clock()
    remote = remotes(memory=FailureMemory(clock=clock))
    up.serve(PATH, PAGE)
    up.script(PATH, Status(500), times=2)
    for _ in range(2):
        clock.now += 0.01
        with pytest.raises(RemoteFailed):
            await remote.page(A, NONE, deadline=soon())
    clock.now += 1
    up.script(PATH, Hang())
    probe = asyncio.create_task(remote.page(A, NONE, deadline=soon()))
    await up.asked(PATH, times=3)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)

    assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)


async def test_file_that_is_missing__is_no_failure(up: RawUpstream, remotes: Remotes) -> None:
    remote = remotes()
    for status in (500, 404, 500):
        up.script("/files/a.whl", Status(status))
    for expected in (RemoteFailed, FileUnknown, RemoteFailed):
        with pytest.raises(expected):
            await remote.head(f"{up.url}files/a.whl")
    up.serve("/files/a.whl", b"wheel")

    assert (await remote.head(f"{up.url}files/a.whl")).size == 5


async def test_failing_page__leaves_other_pages_alone(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    remote = remotes()
    up.serve("/simple/b/", PAGE)
    up.script(PATH, Status(500), times=None)
    for _ in range(3):
        with pytest.raises(RemoteFailed):
            await remote.page(A, NONE, deadline=soon())

    assert isinstance(await remote.page(B, NONE, deadline=soon()), PageFound)


async def test_remote_that_is_down__is_left_alone_whatever_is_asked(
    up: RawUpstream, remotes: Remotes, counted: Counted, soon: Soon
) -> None:
    clock = Clock()
    remote = remotes(memory=FailureMemory(clock=clock, draw=lambda: 1.0))
    await up.stop()
    for name in ("a", "b", "c", "d"):
        clock.now += 0.01
        with pytest.raises(RemoteFailed, match="connection refused"):
            await remote.page(as_project(name), NONE, deadline=soon())

    assert len(counted.statuses) == 2
    await up.start()
    clock.now += 1
    assert await remote.page(A, NONE, deadline=soon()) == PageMissing(404)


async def test_file_host_that_is_down__leaves_the_index_alone(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    remote = remotes()
    up.serve(PATH, PAGE)
    async with closed_port() as url:
        for _ in range(3):
            with pytest.raises(RemoteFailed, match="connection refused"):
                await remote.head(f"{url}a.whl")

    assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)


async def test_redirect_to_a_host_that_is_down__leaves_the_index_alone(
    up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    remote = remotes()
    up.serve(PATH, PAGE)
    async with closed_port() as url:
        up.script("/files/a.whl", Redirect(f"{url}a.whl"), times=None)
        for _ in range(3):
            with pytest.raises(RemoteFailed, match="connection refused"):
                await remote.head(f"{up.url}files/a.whl")

    assert up.count("/files/a.whl") == 2
    assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)


async def test_herd_at_a_failing_remote__is_one_failure(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    """All ask at once and fail together; the next to ask is not refused for it."""
    remote = remotes()
    up.script(PATH, Delay(0.05), Status(500), times=20)
    up.serve(PATH, PAGE)
    asks = [remote.page(A, NONE, deadline=soon()) for _ in range(20)]

    outcomes = await asyncio.gather(*asks, return_exceptions=True)

    assert all(isinstance(outcome, RemoteFailed) for outcome in outcomes)
    assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)


# ---------------------------------------------------------------------- one that hangs slows nobody else


async def test_hanging_pages__leave_room_for_files(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    remote = remotes(max_connections=5)
    up.script(PATH, Hang(), times=None)
    up.serve("/files/a.whl", b"wheel")
    hanging = [asyncio.create_task(remote.page(A, NONE, deadline=soon())) for _ in range(10)]
    await up.asked(PATH, times=4)

    assert (await remote.head(f"{up.url}files/a.whl")).size == 5
    assert up.count(PATH) == 4
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_hanging_files__leave_room_for_pages(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    remote = remotes(max_connections=5)
    up.serve("/files/a.whl", b"wheel")
    up.script("/files/a.whl", Hang(), times=None)
    up.serve(PATH, PAGE)
    hanging = [asyncio.create_task(remote.head(f"{up.url}files/a.whl")) for _ in range(10)]
    await up.asked("/files/a.whl", times=4)

    assert isinstance(await remote.page(A, NONE, deadline=soon()), PageFound)
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_places__are_never_more_than_configured(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    remote = remotes(max_connections=5)
    up.serve(PATH, PAGE)
    up.serve("/files/a.whl", b"wheel")
    up.script("*", Delay(0.002), times=None)

    await asyncio.gather(
        *(remote.page(A, NONE, deadline=soon()) for _ in range(50)),
        *(remote.head(f"{up.url}files/a.whl") for _ in range(50)),
    )

    assert up.peak[""] <= 5
    assert up.peak[PATH] <= 4
    assert up.peak["/files/a.whl"] <= 4


async def test_waiting_for_a_place__ends_at_the_deadline_and_blames_nobody(
    up: RawUpstream, remotes: Remotes, counted: Counted, soon: Soon
) -> None:
    remote = remotes(max_connections=1)
    up.script(PATH, Hang(), times=None)
    up.serve("/simple/b/", PAGE)
    hanging = asyncio.create_task(remote.page(A, NONE, deadline=soon()))
    await up.asked(PATH)
    for _ in range(3):
        with pytest.raises(RemoteFailed, match=r"no free connection within 0\.1 s \(1 in use\)"):
            await remote.page(B, NONE, deadline=now() + 0.1)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)

    assert isinstance(await remote.page(B, NONE, deadline=soon()), PageFound)
    assert counted.statuses == ["cancelled", "200"]
