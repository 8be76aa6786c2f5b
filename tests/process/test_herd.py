"""Many clients at once for one cold file: one fetch, every body right, no wrong one ever whole, and no memory."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path

import pytest

from tests.daemon import Project, noise
from tests.fakes.faults import Chunked, Flip, Gate
from tests.fakes.raw_client import connected
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import Process, daemon, in_order, one_remote, temps_of, until

MIB = 1 << 20
NAME = "alpha-1.0.tar.gz"
PATH = f"/pypi/main/files/up/files/{NAME}"


def one_file(up: RawUpstream, size: int, *, tell_size: bool = True) -> bytes:
    made = Project("alpha")
    data = noise(size)
    made.add(NAME, data, **({} if tell_size else {"size": None}))
    made.publish(up)
    return data


class Crowd:
    """Clients that hash what they get."""

    def __init__(self, served: Process) -> None:
        self.served = served
        self.begun = 0
        self.all_begun = asyncio.Event()

    async def client(self, count: int) -> str:
        """The digest of the whole body."""
        digest = hashlib.sha256()
        async with self.served.asking(PATH) as response:
            assert response.status == 200
            digest.update(await response.content.read(1))
            self.begun += 1
            if self.begun == count:
                self.all_begun.set()
            async for chunk in response.content.iter_any():
                digest.update(chunk)
        return digest.hexdigest()


async def test_herd__100_clients_one_cold_file__one_fetch_and_all_begin_before_its_end(tmp_path: Path) -> None:
    count, size = 100, 8 * MIB
    gate = asyncio.Event()
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        data = one_file(up, size)
        await served.page()
        up.script(f"/files/{NAME}", Gate(gate, first=MIB))
        before = served.memory("VmHWM")
        crowd = Crowd(served)
        clients = [asyncio.create_task(crowd.client(count)) for _ in range(count)]
        async with asyncio.timeout(20):
            await crowd.all_begun.wait()
        gate.set()

        assert set(await asyncio.gather(*clients)) == {hashlib.sha256(data).hexdigest()}
        assert up.count(f"/files/{NAME}") == 1
        assert await served.metric("pyproxy_coalesced_requests_total") == count - 1
        # What a hundred connections take, and not a hundred bodies.
        assert served.memory("VmHWM") - before < 24 * MIB
        assert (await in_order(served.data)).blobs == 1


async def test_herd__100_clients_one_cold_page__one_fetch(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        one_file(up, 1000)
        answers = await asyncio.gather(*(served.page() for _ in range(100)))

        assert {a.status for a in answers} == {200}
        assert len({a.body for a in answers}) == 1
        assert up.count("/simple/alpha/") == 1


async def test_flipped_byte__in_100_megabytes__nobody_gets_a_whole_body_and_the_next_good_one_is_kept(
    tmp_path: Path,
) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        data = one_file(up, 100_000_000)
        up.script(f"/files/{NAME}", Flip(at=60_000_000))
        wrong = await asyncio.gather(served.file(NAME), served.file(NAME), served.ask(PATH, Range="bytes=0-99999"))

        assert [a.whole for a in wrong] == [False, False, False] or wrong[2].status == 502
        assert all(len(a.body) < 100_000_000 for a in wrong[:2])
        assert up.count(f"/files/{NAME}") == 1
        assert await served.metric("pyproxy_wrong_content_total", remote="up") == 1
        assert (await in_order(served.data)).blobs == 0

        right = await served.file(NAME)
        assert (right.status, right.whole, right.body == data) == (200, True, True)
        assert (await in_order(served.data)).blobs == 1
        assert up.count(f"/files/{NAME}") == 2


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_flipped_byte__length_not_known__client_sees_a_reset(tmp_path: Path, version: str) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        data = one_file(up, MIB, tell_size=False)
        up.script(f"/files/{NAME}", Chunked(), Flip())
        host, _, port = served.url.split("/")[2].partition(":")
        got = bytearray()
        async with connected((host, int(port))) as client:
            await client.send(f"GET {PATH} HTTP/{version}\r\nHost: x\r\n\r\n".encode())
            # An HTTP/1.0 body ends with its connection: a polite end would pass for the end of the file.
            with pytest.raises(ConnectionResetError):  # noqa: PT012 - what comes before the reset is wanted too
                while piece := await client.receive():
                    got += piece

        head, _, body = bytes(got).partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))
        assert b"content-length" not in head.lower()
        assert len(body) < len(data)
        assert temps_of(served.data) == ()


async def test_clients__leaving_at_any_moment__leave_nothing_open(tmp_path: Path) -> None:
    dice = random.Random(5)
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        made = Project("alpha")
        for number in range(12):
            made.add(f"alpha-{number}.0.tar.gz", noise(2 * MIB, number))
        made.publish(up)
        await served.page()
        await served.file("alpha-0.0.tar.gz")
        before = served.descriptors

        async def leaves(name: str) -> None:
            async with served.asking(f"/pypi/main/files/up/files/{name}", Connection="close") as response:
                await response.content.readexactly(dice.randrange(1, 2 * MIB))
                response.close()

        for _ in ("cold", "warm"):
            await asyncio.gather(*(leaves(name) for name in made.files for _ in range(8)))
        found = await in_order(served.data)
        assert found.blobs == len(made.files)
        # Beside what it had: connections to the remote that stay open for the next request.
        await until(lambda: served.descriptors <= before + len(made.files), "descriptors are given back")
        assert await served.metric("pyproxy_open_connections") <= 2


async def test_server_field__of_streamed_answers__does_not_name_the_library(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        one_file(up, MIB)
        answers = [await served.page(), await served.file(NAME)]
        await in_order(served.data)
        answers += [await served.file(NAME), await served.ask(PATH, Range="bytes=0-700000")]

        assert [a.headers["Server"] for a in answers] == ["pyproxy"] * 4
