"""Stored files: ranges, conditions, HEAD, damage and eviction; the remote is never asked for what is here."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyproxy.handlers import send
from tests.daemon import Served, noise, one_remote, project, serving
from tests.fakes.raw_client import connected
from tests.fakes.raw_upstream import RawUpstream

WHEEL = "alpha-1.0-py3-none-any.whl"
FILE = f"/files/{WHEEL}"
DATE = "Sat, 01 Jan 2022 00:00:00 GMT"


@dataclass(frozen=True, slots=True)
class Warm:
    """A stored file and who serves it."""

    served: Served
    link: str
    body: bytes

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()}"'

    @property
    def blob(self) -> Path:
        digest = hashlib.sha256(self.body).hexdigest()
        return next((self.served.data / "cache" / "blobs").rglob(digest))


@pytest.fixture(params=[b"", noise(300_000)], ids=["small", "large"])
async def warm(up: RawUpstream, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Warm]:
    wheel = project(up, payload=request.param).files[WHEEL]
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        await served.ask(link)
        await served.settled()
        yield Warm(served, link, wheel)


RANGES: dict[str, tuple[int | None, int | None]] = {
    "bytes=0-0": (0, 1),
    "bytes=0-9": (0, 10),
    "BYTES=0-9": (0, 10),
    "bytes=5-": (5, None),
    "bytes=-5": (-5, None),
    "bytes=0-99999999999999999999999": (0, None),
    "bytes=-99999999999999999999999": (0, None),
    "bytes= 3-7 ,": (3, 8),
}


@pytest.mark.parametrize("asked", [*RANGES])
async def test_range__one(warm: Warm, asked: str) -> None:
    start, stop = RANGES[asked]
    answer = await warm.served.ask(warm.link, Range=asked)
    part = warm.body[start:stop]
    first = (start or 0) % len(warm.body)
    assert (answer.status, answer.body) == (206, part)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(warm.body)}"
    assert answer.headers["Content-Length"] == str(len(part))
    assert answer.etag == warm.etag
    assert "immutable" in answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "items=0-5", "bytes", "bytes=", "bytes=a-b", "bytes=--5", "0-5", "bytes=0-0-0", "bytes=-"]
)
async def test_range__none_that_is_understood__is_sent_whole(warm: Warm, asked: str) -> None:
    answer = await warm.served.ask(warm.link, Range=asked)
    assert (answer.status, answer.body) == (200, warm.body)


async def test_range__more_than_anybody_needs__is_sent_whole(warm: Warm) -> None:
    for asked in (",".join(f"{n}-{n}" for n in range(0, 800, 2)), "0-9,5-14", "0-,0-"):
        answer = await warm.served.ask(warm.link, Range=f"bytes={asked}")
        assert (answer.status, answer.body) == (200, warm.body)


async def test_range__behind_the_end_or_none__416_with_the_size(warm: Warm) -> None:
    size = len(warm.body)
    for asked in (f"{size}-", f"{size}-{size + 5}", "-0", f"{2**64}-", f"{size}-,{size + 1}-"):
        answer = await warm.served.ask(warm.link, Range=f"bytes={asked}")
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
        assert answer.line == f"the file has {size} bytes"


async def test_range__several__multipart_in_their_order(warm: Warm) -> None:
    size = len(warm.body)
    answer = await warm.served.ask(warm.link, Range=f"bytes=-10, 0-4, 100-109, {size}-")
    assert answer.status == 206
    assert "Content-Range" not in answer.headers
    assert answer.headers["Content-Length"] == str(len(answer.body))
    found = re.fullmatch(r"multipart/byteranges; boundary=([A-Za-z0-9-]{1,70})", answer.headers["Content-Type"])
    assert found is not None
    parts = answer.body.split(f"--{found[1]}".encode())
    assert (parts[0], parts[-1]) == (b"", b"--\r\n")
    expected = [(size - 10, size), (0, 5), (100, 110)]
    assert len(parts) == len(expected) + 2
    for part, (start, stop) in zip(parts[1:-1], expected, strict=True):
        head, _, body = part.partition(b"\r\n\r\n")
        assert f"Content-Range: bytes {start}-{stop - 1}/{size}".encode() in head
        assert b"Content-Type: application/octet-stream" in head
        assert body == warm.body[start:stop] + b"\r\n"


@pytest.mark.parametrize(
    ("condition", "status"), [("right", 206), ("weak", 200), ('"other"', 200), (DATE, 200), ("junk", 200)]
)
async def test_range__if_range(warm: Warm, condition: str, status: int) -> None:
    given = {"right": warm.etag, "weak": f"W/{warm.etag}"}.get(condition, condition)
    answer = await warm.served.ask(warm.link, Range="bytes=2-5", If_Range=given)
    assert (answer.status, answer.body) == (status, warm.body[2:6] if status == 206 else warm.body)


@pytest.mark.parametrize(
    ("condition", "status"),
    [("ours", 304), ("weak", 304), ("list", 304), ("*", 304), ('"other"', 200), ("junk", 200), ("", 200)],
)
async def test_file__if_none_match(warm: Warm, condition: str, status: int) -> None:
    given = {"ours": warm.etag, "weak": f"W/{warm.etag}", "list": f'"a", {warm.etag}'}.get(condition, condition)
    for method in ("GET", "HEAD"):
        answer = await warm.served.ask(warm.link, method, If_None_Match=given)
        assert answer.status == status
        assert answer.etag == warm.etag
        assert answer.body == (warm.body if (method, status) == ("GET", 200) else b"")
    # §13.2.2: a condition goes before the range.
    answer = await warm.served.ask(warm.link, If_None_Match=given, Range="bytes=0-3")
    assert answer.status == (206 if status == 200 else 304)


async def test_file__if_match(warm: Warm) -> None:
    assert (await warm.served.ask(warm.link, If_Match=warm.etag)).body == warm.body
    assert (await warm.served.ask(warm.link, If_Match="*")).status == 200
    answer = await warm.served.ask(warm.link, If_Match=f'W/{warm.etag}, "b"')
    assert (answer.status, answer.line) == (412, "the file is not the one that If-Match names")


async def test_file__head__has_the_head_of_get(warm: Warm) -> None:
    whole = await warm.served.ask(warm.link)
    head = await warm.served.ask(warm.link, "HEAD", Range="bytes=0-3")
    assert (head.status, head.body) == (200, b"")
    kept = {name for name in whole.headers if name not in {"Date", "Server"}}
    assert {name: head.headers[name] for name in kept} == {name: whole.headers[name] for name in kept}


async def test_file__several_on_one_connection__none_leaks_into_the_next(warm: Warm) -> None:
    ask = f"GET {warm.link} HTTP/1.1\r\nHost: x\r\n"
    async with connected(warm.served.where) as client:
        for _ in range(3):
            assert (await client.ask(f"{ask}\r\n".encode())).body == warm.body
            assert (await client.ask(f"{ask}Range: bytes=0-3\r\n\r\n".encode())).body == warm.body[:4]
            head = f"HEAD {warm.link} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            assert (await client.ask(head, to_head=True)).status == 200
            assert (await client.ask(f"{ask}If-None-Match: {warm.etag}\r\n\r\n".encode())).status == 304
            assert (await client.ask(f"{ask}Range: bytes=99999999-\r\n\r\n".encode())).status == 416
            assert (await client.ask(f"{ask}Content-Length: 3\r\n\r\nabc".encode())).body == warm.body
        # All at once, in their order.
        await client.send(f"{ask}\r\n{ask}Range: bytes=0-3\r\n\r\n{ask}Connection: close\r\n\r\n".encode())
        assert [len((await client.answer()).body) for _ in range(3)] == [len(warm.body), 4, len(warm.body)]
        assert await client.ends()


async def test_blob__changed_on_disk__is_fetched_again(warm: Warm, up: RawUpstream) -> None:
    asked = up.count(FILE)
    warm.blob.chmod(0o600)
    warm.blob.write_bytes(b"\0" * len(warm.body))
    answer = await warm.served.ask(warm.link)
    assert (answer.whole, answer.body) == (True, warm.body)
    assert up.count(FILE) == asked + 1
    await warm.served.settled()
    assert warm.blob.read_bytes() == warm.body
    assert (await warm.served.ask(warm.link)).body == warm.body
    assert up.count(FILE) == asked + 1


async def test_blob__touched_but_right__is_served_on(warm: Warm, up: RawUpstream) -> None:
    asked = up.count(FILE)
    os.utime(warm.blob)
    assert (await warm.served.ask(warm.link)).body == warm.body
    assert up.count(FILE) == asked


@pytest.mark.parametrize("harm", ["missing", "cut", "empty"])
async def test_blob__gone_or_cut__is_fetched_again(warm: Warm, up: RawUpstream, harm: str) -> None:
    asked = up.count(FILE)
    blob = warm.blob
    if harm == "missing":
        blob.unlink()
    else:
        os.truncate(blob, 0 if harm == "empty" else len(warm.body) // 2)
    answers = await asyncio.gather(*(warm.served.ask(warm.link) for _ in range(5)))
    assert {(a.whole, a.body) for a in answers} == {(True, warm.body)}
    assert up.count(FILE) == asked + 1
    await warm.served.settled()
    assert warm.served.cached == 1
    assert warm.served.metric("pyproxy_cache_bytes") == len(warm.body)


async def test_blob__damaged_and_the_remote_down__is_an_error_and_not_404(warm: Warm, up: RawUpstream) -> None:
    warm.blob.unlink()
    await up.stop()
    answer = await warm.served.ask(warm.link)
    assert (answer.status, answer.line) == (502, "remote up: connection refused")


async def test_blob__evicted_while_it_is_sent__goes_out_whole(up: RawUpstream, tmp_path: Path) -> None:
    body = project(up, payload=noise(8 << 20)).files[WHEEL]
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        await served.ask(link)
        await served.settled()
        async with served.asking(link) as response:
            got = await response.content.readexactly(1000)
            served.daemon.machinery.store.cache.limit = 1
            await served.daemon.machinery.store.cache.shrink()
            assert served.cached == 0
            got += await response.content.read()
        assert got == body
        served.daemon.machinery.store.cache.limit = 1 << 30
        assert (await served.ask(link)).body == body
        assert served.metric("pyproxy_evicted_bytes_total") == len(body)


async def test_blob__cut_while_it_is_sent__the_answer_breaks_off(up: RawUpstream, tmp_path: Path) -> None:
    """Row 104: a client that was promised more must not wait for it."""
    body = project(up, payload=noise(16 << 20)).files[WHEEL]
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        await served.ask(link)
        await served.settled()
        async with connected(served.where, receive_buffer=4096) as client:
            await client.send(f"GET {link} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = len(await client.receive())
            digest = hashlib.sha256(body).hexdigest()
            os.truncate(next((served.data / "cache" / "blobs").rglob(digest)), 1000)
            with pytest.raises(ConnectionError):
                got += len(await client.rest())
        assert got < len(body)


async def test_client__takes_nothing__is_cut_off(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "STALL", 0.2)
    project(up, payload=noise(16 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        await served.ask(link)
        await served.settled()
        async with connected(served.where, receive_buffer=4096) as client:
            await client.send(f"GET {link} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert await client.receive(1)
            async with asyncio.timeout(5.0):
                while served.daemon.current.site.users:  # noqa: ASYNC110 - nobody is told of a request's end
                    await asyncio.sleep(0.01)
            assert served.metric("pyproxy_requests_total", kind="file", result="hit") == 1
            assert served.metric("pyproxy_requests_total", kind="file", result="error") == 0


async def test_client__takes_a_little_now_and_then__gets_all_of_it(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "STALL", 0.5)
    body = project(up, payload=noise(20 << 20)).files[WHEEL]
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        await served.ask(link)
        await served.settled()
        async with connected(served.where, receive_buffer=64 * 1024) as client:
            await client.send(f"GET {link} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            got = bytearray(await client.receive())
            while served.daemon.listener.requests_in_flight:  # for longer than the limit, as the kernel holds 8 MB
                await asyncio.sleep(0.1)
                upto = len(got) + (1 << 20)
                while len(got) < upto and (piece := await client.receive()):
                    got += piece
            got += await client.rest()
        assert got.partition(b"\r\n\r\n")[2] == body


async def test_files__no_descriptor_is_left_behind(warm: Warm) -> None:
    def descriptors() -> int:
        return len([*Path("/proc/self/fd").iterdir()])

    await warm.served.ask(warm.link)
    before = descriptors()
    for _ in range(20):
        await warm.served.ask(warm.link)
        await warm.served.ask(warm.link, "HEAD")
        await warm.served.ask(warm.link, Range="bytes=0-3, 10-13")
        await warm.served.ask(warm.link, If_None_Match=warm.etag)
        await warm.served.ask(f"{warm.link}.metadata")
        async with warm.served.asking(warm.link) as response:
            await response.content.read(10)
    await warm.served.settled()
    assert descriptors() <= before + 2
