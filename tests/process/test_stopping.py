"""SIGTERM: what is in flight is finished, nobody new is let in; a second one means now."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.daemon import Answer, Project, noise
from tests.fakes.faults import Gate, Hang
from tests.fakes.raw_client import connected
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import Process, all_right, daemon, in_order, one_remote, temps_of, until

DOWNLOADS = 20


def several(up: RawUpstream, size: int = 300_000) -> dict[str, bytes]:
    made = Project("alpha")
    for number in range(DOWNLOADS):
        made.add(f"alpha-{number}.0.tar.gz", noise(size, number))
    made.publish(up)
    return made.files


def address(served: Process) -> tuple[str, int]:
    host, _, port = served.url.split("/")[2].partition(":")
    return host, int(port)


def refuses(served: Process) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address(served)) != 0


async def test_sigterm__downloads_in_flight__finish_while_new_clients_are_refused(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        files = several(up)
        for name in files:
            up.script(f"/files/{name}", Gate(gate, first=100_000))
        asking = [asyncio.create_task(served.file(name)) for name in files]
        for name in files:
            await up.asked(f"/files/{name}")
        served.signal(signal.SIGTERM)
        await until(lambda: refuses(served), "new connections are refused")
        assert served.alive
        gate.set()

        answers: list[Answer] = await asyncio.gather(*asking)
        assert all_right(answers, files.values())
        assert await served.ended(within=5) == 0
        assert temps_of(served.data) == ()
        up.heal()
        await served.start()
        # What was finished while it stopped was kept too.
        assert (await in_order(served.data)).blobs == DOWNLOADS


async def test_sigterm__stored_file_being_read_slowly__is_sent_to_its_end(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        made = Project("alpha")
        made.add("alpha-1.0.tar.gz", noise(12_000_000))
        made.publish(up)
        assert (await served.file("alpha-1.0.tar.gz")).whole
        await in_order(served.data)
        async with connected(address(served), receive_buffer=65_536) as client:
            await client.send(b"GET /pypi/main/files/up/files/alpha-1.0.tar.gz HTTP/1.1\r\nHost: x\r\n\r\n")
            begun = await client.receive(1000)
            served.signal(signal.SIGTERM)
            await until(lambda: refuses(served), "new connections are refused")
            rest = await client.rest()

        _, _, body = (begun + rest).partition(b"\r\n\r\n")
        assert body == made.files["alpha-1.0.tar.gz"]
        assert await served.ended(within=5) == 0


async def test_sigterm__idle_connections__do_not_keep_it(tmp_path: Path) -> None:
    async with (
        daemon(tmp_path, one_remote("http://127.0.0.1:9/simple/")) as served,
        connected(address(served)) as silent,
        connected(address(served)) as used,
    ):
        await used.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()

        assert await served.stop() == 0
        assert time.monotonic() - began < 5
        assert await silent.ends()
        assert await used.ends()


async def test_sigterm__a_second_one__cuts_what_is_in_flight(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        files = several(up)
        name = next(iter(files))
        up.script(f"/files/{name}", Hang(at=100_000))
        async with connected(address(served)) as client:
            await client.send(f"GET /pypi/main/files/up/files/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert await client.receive(12) == b"HTTP/1.1 200"
            served.signal(signal.SIGTERM)
            await served.logged("stopping")
            began = time.monotonic()
            served.signal(signal.SIGTERM)

            assert await served.ended(within=10) == 0
            assert time.monotonic() - began < 5
            with pytest.raises(ConnectionResetError):
                await client.rest()
        assert temps_of(served.data) == ()
        assert "Traceback" not in served.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stop__while_a_page_is_being_fetched__ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        several(up)
        up.script("/simple/alpha/", Hang())
        asking = asyncio.create_task(served.page())
        await up.asked("/simple/alpha/")
        served.signal(number)
        await served.logged("stopping")
        served.signal(number)

        assert await served.ended(within=10) == 0
        assert "Traceback" not in served.stderr
        await asyncio.gather(asking, return_exceptions=True)


async def test_client_leaves__download_goes_on_and_the_stop_gives_it_up(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        files = several(up)
        name = next(iter(files))
        up.script(f"/files/{name}", Hang(at=100_000))
        async with served.asking(f"/pypi/main/files/up/files/{name}") as response:
            assert response.status == 200
            await response.content.readexactly(1000)
            response.close()
        assert len(temps_of(served.data)) == 1
        began = time.monotonic()

        assert await served.stop() == 0
        assert time.monotonic() - began < 5
        assert temps_of(served.data) == ()
        assert "Traceback" not in served.stderr
