"""Files on their first way through: streamed while they are stored, one fetch for all, verified before they can end."""

from __future__ import annotations

import asyncio
import hashlib
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.daemon import Project, a_wheel, noise, one_remote, project, serving
from tests.fakes.faults import (
    Body,
    Chunked,
    Cut,
    Fault,
    Flip,
    Gate,
    Hang,
    Headers,
    Lie,
    Redirect,
    Reset,
    Status,
    Surplus,
    UntilClose,
)
from tests.fakes.raw_client import connected
from tests.fakes.raw_upstream import RawUpstream

WHEEL = "alpha-1.0-py3-none-any.whl"
FILE = f"/files/{WHEEL}"
LARGE = noise(3 << 20)
"""Larger than all that is held back, read ahead or kept in sockets' buffers."""


def large(up: RawUpstream, **said: Any) -> bytes:
    """Publishes a project whose wheel is large; its bytes."""
    return project(up, payload=LARGE, **said).files[WHEEL]


async def test_file__cold__first_byte_does_not_wait_for_the_last(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        async with served.asking(link) as response:
            got = await response.content.readexactly(512 * 1024)
            assert not rest.is_set()
            rest.set()
            got += await response.content.read()
        assert got == wheel
        assert response.headers["Content-Length"] == str(len(wheel))
        await served.settled()
        assert served.cached == 1
        assert served.temps == []


async def test_file__head_of_the_answer__cold_and_warm_alike(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    digest = hashlib.sha256(wheel).hexdigest()
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        with served.counting("pyproxy_requests_total", "kind", "result") as results:
            cold = await served.ask(link)
            await served.settled()
            warm = await served.ask(link)
        assert results == {("file", "miss"): 1, ("file", "hit"): 1}
        assert cold.body == warm.body == wheel
        for answer in (cold, warm):
            assert answer.etag == f'"{digest}"'
            assert answer.headers["Cache-Control"] == "public, max-age=365000000, immutable"
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Accept-Ranges"] == "bytes"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Content-Encoding" not in answer.headers
        assert served.metric("pyproxy_response_bytes_total", kind="file") == 2 * len(wheel)
        assert served.metric("pyproxy_cache_bytes") == len(wheel)
        assert served.metric("pyproxy_cache_files") == 1
    assert up.count(FILE) == 1


async def test_file__twenty_ask_at_once__one_fetch(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        asking = [asyncio.create_task(served.ask(link)) for _ in range(20)]
        await up.asked(FILE)
        await served.coalesced(19)
        rest.set()
        answers = await asyncio.gather(*asking)
        assert all(a.whole and a.body == wheel for a in answers)
    assert up.count(FILE) == 1


async def test_file__the_first_to_ask_goes_away__the_others_get_it_of_the_same_fetch(
    up: RawUpstream, tmp_path: Path
) -> None:
    wheel = large(up)
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        async with served.asking(link) as leader:
            await leader.content.readexactly(100_000)
            asking = [asyncio.create_task(served.ask(link)) for _ in range(20)]
            await served.coalesced(20)
        rest.set()
        answers = await asyncio.gather(*asking)
        assert all(a.whole and a.body == wheel for a in answers)
    assert up.count(FILE) == 1


async def test_file__all_go_away__nothing_is_left_over_and_the_next_gets_it(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        for _ in range(3):
            async with served.asking(link) as response:
                await response.content.readexactly(100_000)
        rest.set()
        await served.settled()
        assert served.temps == []
        assert (await served.ask(link)).body == wheel
        await served.settled()
        assert len(served.daemon.machinery.arrivals) == 0
    assert up.count(FILE) == 1


async def test_file__a_reader_that_does_not_read__slows_nobody(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        async with connected(served.where, receive_buffer=4096) as slow:
            await slow.send(f"GET {link} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await up.asked(FILE)
            rest.set()
            async with asyncio.timeout(5.0):
                answers = await asyncio.gather(*(served.ask(link) for _ in range(5)))
                assert all(a.body == wheel for a in answers)
                await served.settled()
            # It gets the same bytes, whenever it reads on.
            assert (await slow.answer()).body == wheel
    assert up.count(FILE) == 1


async def test_file__asked_for_while_it_arrives__from_its_first_byte(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=2 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        async with served.asking(link) as first:
            await first.content.readexactly(1 << 20)
            async with served.asking(link) as second:
                assert await second.content.readexactly(1 << 20) == wheel[: 1 << 20]
                rest.set()
                assert await second.content.read() == wheel[1 << 20 :]
    assert up.count(FILE) == 1


# ------------------------------------------------------------------ bodies that are wrong or break


@pytest.mark.parametrize("payload", [b"", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("at", [0.0, 0.5, 0.9999999], ids=["first", "middle", "last"])
async def test_file__one_byte_flipped__nobody_gets_it_whole_and_it_is_not_kept(
    up: RawUpstream, tmp_path: Path, payload: bytes, at: float
) -> None:
    wheel = project(up, payload=payload).files[WHEEL]
    up.script(FILE, Flip(at=at))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        with served.counting("pyproxy_requests_total", "kind", "result") as results:
            answers = await asyncio.gather(*(served.ask(link) for _ in range(5)))
        assert results == {("file", "error"): 5}
        for answer in answers:
            if payload:
                assert not answer.whole
                assert len(answer.body) < len(wheel)
            else:
                assert answer.status == 502
                assert answer.line == f"remote up: {WHEEL} does not have the sha256 digest that its page gives"
        assert served.metric("pyproxy_wrong_content_total", remote="up") == 1
        await served.settled()
        assert (served.cached, served.temps) == (0, [])
        good = await served.ask(link)
        assert (good.whole, good.body) == (True, wheel)
        await served.settled()
        assert served.cached == 1
        assert (await served.ask(link)).body == wheel
    assert up.count(FILE) == 2


BREAKS: dict[str, tuple[Fault, ...]] = {
    "reset": (Reset(at=0.6),),
    "cut": (Cut(at=0.6),),
    "content-length too long": (Lie(by=1000),),
    "content-length too short": (Lie(by=-1000),),
    "no last chunk": (Chunked(last=False), Cut(at=0.6)),
    "until close, cut": (UntilClose(at=0.6),),
    "other, longer bytes": (Body(LARGE + b"more" * 20_000),),
    "other, shorter bytes": (Body(LARGE[:-20_000]),),
    "hangs": (Hang(at=0.6),),
}


@pytest.mark.parametrize("said", [{}, {"size": None}], ids=["size told", "size not told"])
@pytest.mark.parametrize("faults", [*BREAKS.values()], ids=[*BREAKS])
async def test_file__breaks_each_time__never_ends_as_if_whole_and_is_not_kept(
    up: RawUpstream, tmp_path: Path, faults: tuple[Fault, ...], said: dict[str, Any]
) -> None:
    wheel = large(up, **said)
    up.serve(FILE, wheel, ranges=False)
    up.script(FILE, *faults, times=None)
    async with serving(tmp_path, one_remote(up, read_timeout="150ms")) as served:
        link = await served.link()
        answer = await served.ask(link)
        assert answer.status == 502 or not answer.whole, answer
        if answer.status == 502:
            assert answer.line.startswith("remote up: ")
        await served.settled()
        assert (served.cached, served.temps) == (0, [])
        up.heal()
        served.forget_failures()
        good = await served.ask(link)
        assert (good.whole, good.body) == (True, wheel)
        await served.settled()
        assert served.cached == 1


@pytest.mark.parametrize("faults", [(Cut(at=0.5),), (Reset(at=0.5),)], ids=["cut", "reset"])
async def test_file__cut__is_taken_up_where_it_broke_under_its_validator(
    up: RawUpstream, tmp_path: Path, faults: tuple[Fault, ...]
) -> None:
    wheel = large(up)
    up.script(FILE, *faults)
    async with serving(tmp_path, one_remote(up, retries=1)) as served:
        answer = await served.ask(await served.link())
        assert (answer.whole, answer.body) == (True, wheel)
        await served.settled()
        assert served.cached == 1
    first, second = (r for r in up.requests if r.path == FILE)
    assert "range" not in first.headers
    assert re.fullmatch(r"bytes=[1-9][0-9]+-", second.headers["range"])
    assert second.headers["if-range"] == f'"{hashlib.sha256(wheel).hexdigest()[:16]}"'
    assert up.sent[FILE] < len(wheel) + (1 << 20)


async def test_file__cut_and_changed_meanwhile__is_never_spliced(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    up.script(FILE, Cut(at=0.5))
    up.script(FILE, Body(bytes(len(wheel))), Headers({"ETag": '"other"'}))
    async with serving(tmp_path, one_remote(up, retries=1)) as served:
        answer = await served.ask(await served.link())
        assert not answer.whole
        await served.settled()
        assert (served.cached, served.temps) == (0, [])


async def test_file__cut_at_a_remote_without_ranges__is_begun_again_and_goes_on(
    up: RawUpstream, tmp_path: Path
) -> None:
    made = project(up, payload=LARGE)
    up.serve(FILE, made.files[WHEEL], ranges=False)
    up.script(FILE, Cut(at=0.5))
    async with serving(tmp_path, one_remote(up, retries=1)) as served:
        answer = await served.ask(await served.link())
        assert (answer.whole, answer.body) == (True, made.files[WHEEL])
    assert up.count(FILE) == 2


async def test_file__cut_again_and_again__gives_up_after_its_retries(up: RawUpstream, tmp_path: Path) -> None:
    large(up)
    up.script(FILE, Cut(at=1000), times=None)
    async with serving(tmp_path, one_remote(up, retries=1)) as served:
        answer = await served.ask(await served.link())
        assert answer.status == 502 or not answer.whole
        await served.settled()
        assert served.temps == []
    assert up.count(FILE) == 2


@pytest.mark.parametrize("faults", [(UntilClose(),), (Chunked(),)], ids=["until close", "chunked"])
@pytest.mark.parametrize("said", [{}, {"size": None}], ids=["size told", "size not told"])
async def test_file__length_not_told__the_digest_decides(
    up: RawUpstream, tmp_path: Path, faults: tuple[Fault, ...], said: dict[str, Any]
) -> None:
    wheel = large(up, **said)
    up.script(FILE, *faults)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link())
        assert (answer.whole, answer.body) == (True, wheel)
        await served.settled()
        assert served.cached == 1


async def test_file__length_never_told__http_1_0_client_sees_a_broken_one_break(
    up: RawUpstream, tmp_path: Path
) -> None:
    """Such an answer ends with its connection, so only a reset tells a cut one from a whole one."""
    wheel = large(up, size=None)
    up.script(FILE, Chunked(), Flip(at=0.5))
    up.script(FILE, Chunked())
    async with serving(tmp_path, one_remote(up)) as served:
        ask = f"GET {await served.link()} HTTP/1.0\r\n\r\n".encode()
        async with connected(served.where) as client:
            await client.send(ask)
            with pytest.raises(ConnectionError):
                await client.rest()
        async with connected(served.where) as client:
            answer = await client.ask(ask)
            assert (answer.status, answer.body) == (200, wheel)


async def test_file__no_digest_told__framing_decides_and_clients_may_not_keep_it_for_ever(
    up: RawUpstream, tmp_path: Path
) -> None:
    wheel = large(up, hashes={})
    up.serve(FILE, wheel)  # without a validator there is nothing to take it up by
    up.script(FILE, Cut(at=0.5))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        assert not (await served.ask(link)).whole
        answer = await served.ask(link)
        assert answer.body == wheel
        assert "immutable" not in answer.headers["Cache-Control"]
        await served.settled()
        warm = await served.ask(link)
        assert warm.body == wheel
        assert warm.etag == f'"{hashlib.sha256(wheel).hexdigest()}"'
        assert "immutable" not in warm.headers["Cache-Control"]
    assert up.count(FILE) == 2


async def test_file__neither_digest_nor_length__is_refused(up: RawUpstream, tmp_path: Path) -> None:
    large(up, hashes={}, size=None)
    up.script(FILE, UntilClose())
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link())
        assert answer.status == 502
        assert "neither length nor digest" in answer.line
        await served.settled()
        assert served.cached == 0


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha224", "sha384", "sha512", "blake2b", "sha3_256"])
async def test_file__other_digests__are_checked_too(up: RawUpstream, tmp_path: Path, algorithm: str) -> None:
    wheel = a_wheel(payload=b"x" * 100_000)
    made = Project("alpha")
    made.add(WHEEL, wheel, hashes={algorithm: hashlib.new(algorithm, wheel).hexdigest()})
    made.publish(up)
    up.script(FILE, Flip())
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        assert not (await served.ask(link)).whole
        cold = await served.ask(link)
        await served.settled()
        warm = await served.ask(link)
        assert cold.body == warm.body == wheel
        assert cold.etag == warm.etag
    assert up.count(FILE) == 2


async def test_file__digest_by_an_algorithm_nobody_knows__is_no_promise(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up, hashes={"whirlpool": "ab" * 64})
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        cold = await served.ask(link)
        await served.settled()
        warm = await served.ask(link)
        assert cold.body == warm.body == wheel
        assert "immutable" not in cold.headers["Cache-Control"]
    assert up.count(FILE) == 1


async def test_file__size_is_not_what_its_page_says__is_refused_unread(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up, size=1000)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link())
        assert (answer.status, answer.line) == (502, f"remote up: {WHEEL} is {len(wheel)} bytes, its page says 1000")
        await served.settled()
        assert served.cached == 0


async def test_file__more_than_promised_on_the_wire__is_not_taken(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    up.script(FILE, Surplus(b"x" * 1000))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        first = await served.ask(link)
        assert not first.whole or first.body == wheel
        assert (await served.ask(link)).body == wheel


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_file__remote_refuses__502(up: RawUpstream, tmp_path: Path, status: int) -> None:
    project(up)
    up.script(FILE, Status(status))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        answer = await served.ask(link)
        assert answer.status == 502
        assert f"answered {status}" in answer.line
        assert answer.headers["Proxy-Status"].startswith("pyproxy; error=")
        assert (await served.ask(link, "HEAD")).status == 200  # the page tells enough
        assert (await served.ask(link)).status == 200


@pytest.mark.parametrize("status", [404, 410])
async def test_file__gone_at_the_remote__404_and_200_from_the_cache(
    up: RawUpstream, tmp_path: Path, status: int
) -> None:
    project(up)
    up.script(FILE, Status(status))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        answer = await served.ask(link)
        assert answer.status == 404
        assert answer.line == f"remote up: answered {status}, it has no such file"
        whole = await served.ask(link)
        await served.settled()
        up.script(FILE, Status(status), times=None)
        assert (await served.ask(link)).body == whole.body


async def test_file__answer_is_a_page_of_html__502(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    up.script(FILE, Body(b"<html>Sign in</html>"), Headers({"Content-Type": "text/html"}))
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link())
        assert answer.status == 502
        assert b"Sign in" not in answer.body


async def test_file__archive_labelled_as_gzip_coded__its_bytes_are_as_they_are(up: RawUpstream, tmp_path: Path) -> None:
    """Servers that take `.tar.gz` for a coding: the digest is over the bytes as they lie there."""
    made = Project("alpha")
    made.add("alpha-1.0.tar.gz", b"\x1f\x8b" + noise(200_000))
    made.publish(up)
    up.script("/files/alpha-1.0.tar.gz", Headers({"Content-Encoding": "gzip", "Content-Type": "application/x-tar"}))
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link(), Accept_Encoding="gzip, zstd")
        assert answer.body == made.files["alpha-1.0.tar.gz"]
        assert "Content-Encoding" not in answer.headers
        assert answer.headers["Content-Type"] == "application/octet-stream"
    assert up.requests[-1].headers["accept-encoding"] == "identity"


async def test_file__empty__is_served(up: RawUpstream, tmp_path: Path) -> None:
    made = Project("alpha")
    made.add("alpha-1.0.tar.gz", b"")
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        for _ in range(2):
            answer = await served.ask(link)
            assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")
            await served.settled()
    assert up.count("/files/alpha-1.0.tar.gz") == 1


# ------------------------------------------------------------------ without a download


async def test_file__head_of_a_cold_one__asks_the_remote_for_nothing(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link(), "HEAD")
        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", str(len(wheel)))
        assert answer.etag == f'"{hashlib.sha256(wheel).hexdigest()}"'
    assert up.count(FILE) == 0


async def test_file__head_of_a_cold_one_of_unknown_size__asks_for_its_head(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up, size=None)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link(), "HEAD")
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(wheel)))
    assert up.count(FILE, "GET") == 0
    assert up.sent[FILE] == 0


@pytest.mark.parametrize("said", [{}, {"size": None}], ids=["size told", "size not told"])
async def test_file__if_none_match_on_a_cold_one__304_without_a_download(
    up: RawUpstream, tmp_path: Path, said: dict[str, Any]
) -> None:
    etag = f'"{hashlib.sha256(large(up, **said)).hexdigest()}"'
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        answer = await served.ask(link, If_None_Match=etag)
        assert (answer.status, answer.body, answer.etag) == (304, b"", etag)
        assert (await served.ask(link, "HEAD", If_None_Match=f'W/{etag}, "x"')).status == 304
        assert (await served.ask(link, If_Match='"other"')).status == 412
    assert up.count(FILE) == 0


async def test_file__if_none_match_on_a_cold_one_without_digest__is_sent(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up, hashes={}, size=None)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link(), If_None_Match='"whatever"')
        assert (answer.status, answer.body) == (200, wheel)
    assert up.count(FILE) == 1


# ------------------------------------------------------------------ ranges of a cold file


RANGES = {
    "bytes=0-9": (0, 10),
    "bytes=100-": (100, None),
    "bytes=-500": (-500, None),
    "bytes=1000000-1999999": (1_000_000, 2_000_000),
}


@pytest.mark.parametrize("asked", [*RANGES])
async def test_range__of_a_cold_file__is_right_and_the_whole_is_kept(
    up: RawUpstream, tmp_path: Path, asked: str
) -> None:
    wheel = large(up)
    start, stop = RANGES[asked]
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        answer = await served.ask(link, Range=asked)
        expected = wheel[start:stop]
        first = start if start >= 0 else len(wheel) + start
        assert (answer.status, answer.whole, answer.body) == (206, True, expected)
        assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(expected) - 1}/{len(wheel)}"
        await served.settled()
        assert (await served.ask(link)).body == wheel
    assert up.count(FILE) == 1


async def test_range__several_of_a_cold_file(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link(), Range="bytes=0-9, 100-109, -10")
        assert answer.status == 206
        assert answer.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
        for part in (wheel[:10], wheel[100:110], wheel[-10:]):
            assert b"\r\n\r\n" + part + b"\r\n--" in answer.body


async def test_range__behind_the_end_of_a_cold_file__416(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link(), Range=f"bytes={len(wheel)}-")
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(wheel)}")


@pytest.mark.parametrize(("condition", "status"), [("right", 206), ('"other"', 200), ("date", 200)])
async def test_range__if_range_on_a_cold_file(up: RawUpstream, tmp_path: Path, condition: str, status: int) -> None:
    wheel = large(up)
    right = f'"{hashlib.sha256(wheel).hexdigest()}"'
    conditions = {"right": right, "date": "Sat, 01 Jan 2022 00:00:00 GMT"}
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(await served.link(), Range="bytes=0-9", If_Range=conditions.get(condition, condition))
        assert (answer.status, answer.body) == (status, wheel[:10] if status == 206 else wheel)


async def test_range__of_a_cold_file_that_is_wrong__never_ends_whole(up: RawUpstream, tmp_path: Path) -> None:
    large(up)
    up.script(FILE, Flip(at=0.9999999), times=None)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        assert not (await served.ask(link, Range="bytes=0-9")).whole
        assert not (await served.ask(link, Range="bytes=0-999999")).whole
        assert (await served.ask(link, Range="bytes=0-9, 20-29")).status == 502


# ------------------------------------------------------------------ policies


async def test_policy_streamed__keeps_nothing(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    async with serving(tmp_path, one_remote(up, policy="streamed")) as served:
        link = await served.link()
        for number in (1, 2):
            answer = await served.ask(link)
            assert (answer.whole, answer.body) == (True, wheel)
            await served.settled()
            assert (served.cached, served.temps) == (0, [])
            assert up.count(FILE) == number
        up.script(FILE, Flip())
        assert not (await served.ask(link)).whole
        metadata = await served.ask(f"{link}.metadata")
        assert b"Name: alpha" in metadata.body
        assert served.cached == 0


async def test_policy_streamed__many_at_once_are_one_fetch(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1 << 20))
    async with serving(tmp_path, one_remote(up, policy="streamed")) as served:
        link = await served.link()
        asking = [asyncio.create_task(served.ask(link)) for _ in range(5)]
        await served.coalesced(4)
        rest.set()
        assert {a.body == wheel for a in await asyncio.gather(*asking)} == {True}
    assert up.count(FILE) == 1


async def test_policy_offline__503_for_what_is_not_stored(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    made.add("alpha-2.0-py3-none-any.whl", a_wheel(version="2.0"))
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        one, two = (await served.links()).values()
        await served.ask(one)
        await served.settled()
    asked = up.count()
    async with serving(tmp_path, one_remote(up, policy="offline")) as served:
        assert (await served.ask(one)).body == made.files[WHEEL]
        assert b"Name: alpha" in (await served.ask(f"{one}.metadata")).body
        for path in (two, f"{two}.metadata"):
            answer = await served.ask(path)
            assert answer.status == 503
            assert answer.line.endswith("is not cached, and remote up is offline by configuration")
        assert (await served.ask(two, "HEAD")).status == 503
    assert up.count() == asked


async def test_file__larger_than_the_cache__is_passed_through(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    project(up, "beta")
    text = one_remote(up) + "storage:\n  max_cache_size: 1MiB\n"
    async with serving(tmp_path, text) as served:
        small = await served.link("beta")
        await served.ask(small)
        await served.settled()
        assert (await served.ask(await served.link())).body == wheel
        await served.settled()
        assert served.temps == []
        assert served.cached == 1, "one file that does not fit costs no other its place"


async def test_file__after_a_restart__is_served_without_a_fetch(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        cold = await served.ask(link)
        await served.settled()
    await up.stop()
    async with serving(tmp_path, one_remote(up)) as served:
        warm = await served.ask(link)
        assert (warm.body, warm.etag) == (wheel, cold.etag)


async def test_file__stop_of_the_daemon_while_it_arrives__leaves_nothing_half(up: RawUpstream, tmp_path: Path) -> None:
    large(up)
    up.script(FILE, Hang(at=0.5))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        async with served.asking(link) as response:
            await response.content.readexactly(100_000)
            await served.daemon.listener.drain(0.0)
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await response.content.read()
    assert served.temps == []
    async with serving(tmp_path, one_remote(up)) as served:
        assert served.cached == 0
        assert (await served.ask(link)).status == 200


async def test_file__redirected__is_followed_and_verified(up: RawUpstream, tmp_path: Path) -> None:
    wheel = large(up)
    async with RawUpstream("127.0.0.2") as store:
        store.serve("/blob", wheel)
        up.script(FILE, Redirect(f"{store.url}blob?signature=1"), times=None)
        async with serving(tmp_path, one_remote(up)) as served:
            assert (await served.ask(await served.link())).body == wheel
        assert store.count("/blob") == 1
