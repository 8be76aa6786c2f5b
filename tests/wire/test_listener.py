"""Where the daemon listens, how many it takes in, and how it stops."""

from __future__ import annotations

import asyncio
import errno
import gc
import inspect
import logging
import os
import re
import resource
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web, web_request
from aiohttp.base_protocol import BaseProtocol

from pyproxy.wire import Connection, Limits, Listener
from pyproxy.wire import entrance as entrance_module
from pyproxy.wire.limits import connection_cap, files_known
from tests.fakes.raw_client import RawClient, connected
from tests.wire.serving import LOCAL, Gate, connections, echo, get, path_only, post, serving, until


def tcp(listener: Listener) -> tuple[str, int]:
    """The address of a listener that has no path."""
    assert isinstance(listener.address, tuple)
    return listener.address


async def nobody_listens(where: Any) -> bool:  # Any: as `RawClient.connect` takes it
    try:
        client = await RawClient.connect(where)
    except OSError:
        return True
    client.close()
    return False


# --- places ----------------------------------------------------------------------------------------------------------


async def test_address__port_0__is_the_one_that_was_given() -> None:
    async with serving(path_only) as listener:
        host, port = tcp(listener)
        assert (host, port > 0, listener.url) == ("127.0.0.1", True, f"http://127.0.0.1:{port}")


async def test_address__ipv6_loopback__serves() -> None:
    async with serving(path_only, where=("::1", 0)) as listener, connected(listener.address) as client:
        assert (await client.ask(get("/six"))).body == b"/six"
        assert listener.url == f"http://[::1]:{tcp(listener)[1]}"


async def test_address__all_of_ipv6__takes_ipv4_too() -> None:
    everywhere = serving(path_only, where=("::", 0))
    async with everywhere as listener, connected(("127.0.0.1", tcp(listener)[1])) as client:
        assert (await client.ask(get("/four"))).body == b"/four"


async def test_address__taken__is_an_error() -> None:
    async with serving(path_only) as listener:
        with pytest.raises(OSError, match="in use") as caught:
            await Listener(path_only, listener.address).start()
        assert caught.value.errno == errno.EADDRINUSE


async def test_address__a_bound_socket__is_listened_on() -> None:
    sock = socket.socket()
    sock.bind(LOCAL)
    async with serving(path_only, where=sock) as listener:
        assert listener.address == sock.getsockname()
        async with connected(listener.address) as client:
            assert (await client.ask(get())).status == 200


async def test_address__free_again_after_a_restart_with_connections_open() -> None:
    async with serving(path_only) as listener, connected(listener.address) as client:
        await client.ask(get())
        where = listener.address
        await listener.drain(0)  # the server closes first, so that the kernel remembers the connection
    async with serving(path_only, where=where) as listener, connected(where) as client:
        assert (await client.ask(get())).status == 200


async def test_unix_socket__serves_those_of_the_group_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "pyproxy.sock"
    async with serving(path_only, where=path) as listener, connected(path) as client:
        assert (listener.address, listener.url) == (path, f"unix:{path}")
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert (await client.ask(get("/unix"))).body == b"/unix"
    assert not path.exists()


async def test_unix_socket__left_by_a_dead_daemon__is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "pyproxy.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    async with serving(path_only, where=path), connected(path) as client:
        assert (await client.ask(get())).status == 200


async def test_unix_socket__somebody_listens__is_an_error_and_stays_theirs(tmp_path: Path) -> None:
    path = tmp_path / "pyproxy.sock"
    async with serving(path_only, where=path), connected(path) as client:
        with pytest.raises(OSError, match="in use") as caught:
            await Listener(path_only, path).start()
        assert caught.value.errno == errno.EADDRINUSE
        assert (await client.ask(get())).status == 200


async def test_unix_socket__a_file_in_the_way__is_kept(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(FileExistsError):
        await Listener(path_only, path).start()
    assert path.read_text() == "data"


async def test_unix_socket__put_there_by_a_successor__is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "pyproxy.sock"
    async with serving(path_only, where=path):
        path.rename(tmp_path / "aside")
        path.write_text("the successor's")
    assert path.exists()


async def test_socket__answers_are_not_delayed_by_nagle() -> None:
    seen = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        sock = request.transport.get_extra_info("socket")
        seen.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return web.Response()

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.ask(get())
    assert seen == [1]


# --- how many --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("open_files", "connections"), [(16, 1), (64, 4), (1024, 424), (20_000, 9848), (1 << 30, 65_536)]
)
def test_cap__leaves_descriptors_for_files_and_remotes(open_files: int, connections: int) -> None:
    assert connection_cap(open_files) == connections
    assert open_files < 64 or 2 * connections + files_known(open_files) < open_files


def test_cap__without_a_limit_on_files__is_still_one() -> None:
    assert connection_cap(resource.RLIM_INFINITY) == 65_536


async def test_many_at_once__are_all_served() -> None:
    async def one(where: Any) -> bytes:  # Any: as `connected` takes it
        async with connected(where) as client:
            return (await client.ask(get("/x"))).body

    async with serving(path_only) as listener:
        assert await asyncio.gather(*(one(listener.address) for _ in range(300))) == [b"/x"] * 300


async def test_many_at_once__on_a_loop_that_makes_transports_in_its_own_way__are_all_served_within_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = 0

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        nonlocal most
        most = max(most, listener.open_connections)
        return web.Response()

    monkeypatch.setattr(entrance_module, "_maker", lambda _: None)
    async with serving(handler, max_connections=3) as listener:
        clients = [await RawClient.connect(listener.address) for _ in range(8)]
        for client in clients:
            await client.send(get("/", "Connection: close"))
        assert [(await client.answer()).status for client in clients] == [200] * 8
        for client in clients:
            client.close()
    assert 1 <= most <= 3


async def test_loop__makes_transports_as_the_entrance_wants_them() -> None:
    assert entrance_module._maker(asyncio.get_running_loop()) is not None


async def test_others_at_the_socket__are_let_go_first_and_every_connection_is_taken_in_the_end() -> None:
    asked: list[int] = []

    def ahead(count: int) -> bool:
        asked.append(count)
        return True

    listener = Listener(path_only, LOCAL, ahead=ahead)
    await listener.start()
    clients = [await RawClient.connect(listener.address) for _ in range(3)]
    assert [(await client.ask(get())).status for client in clients] == [200] * 3
    assert asked[:3] == [0, 1, 2]
    await listener.drain(0)
    for client in clients:
        client.close()


async def test_cap__reached__others_wait_and_come_in_when_one_leaves() -> None:
    gate = Gate()
    async with serving(gate, max_connections=2) as listener:
        first, second, third = [await RawClient.connect(listener.address) for _ in range(3)]
        for client in (first, second, third):
            await client.send(get())
        await gate.arrived(2)
        await asyncio.sleep(0.1)
        assert (listener.open_connections, gate.running) == (2, 2)
        first.reset()
        await gate.arrived()
        gate.open.set()
        assert [(await client.answer()).status for client in (second, third)] == [200, 200]
        second.close()
        third.close()


async def test_cap__held_by_idle_connections__the_one_idle_longest_makes_room() -> None:
    async with serving(path_only, max_connections=3) as listener:
        clients = [await RawClient.connect(listener.address) for _ in range(3)]
        for client in clients:
            await client.ask(get())
        async with connected(listener.address) as late:
            assert (await late.ask(get())).status == 200
            assert await clients[0].ends()
            assert [(await client.ask(get())).status for client in clients[1:]] == [200, 200]
        for client in clients:
            client.close()


async def test_cap__reached_and_nobody_waits__idle_connections_stay() -> None:
    async with serving(path_only, max_connections=1) as listener, connected(listener.address) as client:
        await client.ask(get())
        await asyncio.sleep(0.1)
        assert (await client.ask(get())).status == 200


async def test_descriptors__run_out__one_line_is_logged_and_accepting_goes_on_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    roomy = serving(path_only, max_connections=100)
    async with roomy as listener, connected(listener.address) as early, connected(listener.address) as late:
        await until(lambda: listener.open_connections == 2)
        with socket.socket() as sock:
            sock.settimeout(0)
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            try:
                await asyncio.get_running_loop().sock_connect(sock, tcp(listener))
                await until(lambda: "cannot accept" in caplog.text)
                await asyncio.sleep(0.5)  # time for a second line, if there were one
                assert (await early.ask(get())).status == 200
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: listener.open_connections == 3)
        assert (await late.ask(get())).status == 200
    assert caplog.text.count("cannot accept") == 1


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM])
async def test_accept__a_connection_that_is_already_gone__is_passed_over_in_silence(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken, failures = entrance_module._taken, [OSError(number, "gone")] * 3

    def flaky(listening: socket.socket, kind: tuple[int, int, int]) -> tuple[socket.socket, Any]:  # Any: as `_taken`
        if failures:
            raise failures.pop()
        return taken(listening, kind)

    monkeypatch.setattr(entrance_module, "_taken", flaky)
    async with serving(path_only) as listener, connected(listener.address) as client:
        assert (await client.ask(get())).status == 200
    assert (failures, [record for record in caplog.records if record.levelno >= logging.WARNING]) == ([], [])


async def test_connections__one_now_and_then__are_taken_without_a_look_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken, looks = entrance_module._taken, 0

    def counted(listening: socket.socket, kind: tuple[int, int, int]) -> tuple[socket.socket, Any]:  # Any: as `_taken`
        nonlocal looks
        looks += 1
        return taken(listening, kind)

    monkeypatch.setattr(entrance_module, "_taken", counted)
    monkeypatch.setattr(entrance_module, "_RUSH", 0.0)
    async with serving(path_only) as listener:
        for number in range(1, 4):
            async with connected(listener.address) as client:
                assert (await client.ask(get())).status == 200
                assert looks == number


@pytest.mark.parametrize("rush", [60.0, 0.0], ids=["quick-turns", "slow-turns"])
async def test_connections__in_a_rush__are_taken_more_and_more_at_once(
    monkeypatch: pytest.MonkeyPatch, rush: float
) -> None:
    monkeypatch.setattr(entrance_module, "_RUSH", rush)
    turns: list[int] = []
    async with serving(path_only) as listener:
        take, entrance = entrance_module.Entrance._take_some, listener._entrance

        def counted(self: entrance_module.Entrance) -> None:
            before = listener.open_connections
            take(self)
            asyncio.get_running_loop().call_soon(lambda: turns.append(listener.open_connections - before))

        monkeypatch.setattr(entrance_module.Entrance, "_take_some", counted)
        assert entrance is not None
        address = listener.address
        assert isinstance(address, tuple)
        clients = [socket.create_connection(address) for _ in range(40)]  # before the loop looks
        await until(lambda: listener.open_connections == 40)
        for client in clients:
            client.close()
    assert len(turns) <= 8


async def test_accept__fails_all_the_time__is_tried_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    def failing(*_: object) -> Any:  # Any: nothing is given
        nonlocal tries
        tries += 1
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

    monkeypatch.setattr(entrance_module, "_taken", failing)
    async with serving(path_only) as listener, connected(listener.address):
        await asyncio.sleep(0.3)
    assert 1 <= tries <= 3


# --- stopping --------------------------------------------------------------------------------------------------------


async def test_drain__closes_idle_connections_at_once_and_lets_nobody_in() -> None:
    async with serving(path_only) as listener:
        where = listener.address
        async with connected(where) as fresh, connected(where) as used, connected(where) as half:
            await used.ask(get())
            await half.send(b"GET / HT")
            await until(lambda: listener.open_connections == 3 and any(not one.idle for one in connections(listener)))
            await asyncio.wait_for(listener.drain(60), 5)
            assert [await client.rest() for client in (fresh, used, half)] == [b"", b"", b""]
        assert await nobody_listens(where)


async def test_drain__lets_a_request_in_flight_finish_and_tells_its_client_to_close() -> None:
    gate = Gate()
    async with serving(gate) as listener, connected(listener.address) as client:
        where = listener.address
        await client.send(get("/slow") + get("/never"))
        await gate.arrived()
        draining = asyncio.create_task(listener.drain(60))
        await asyncio.sleep(0.05)
        assert (draining.done(), await nobody_listens(where), listener.requests_in_flight) == (False, True, 1)
        gate.open.set()
        answer = await client.answer()
        assert (answer.body, answer.closes, await client.ends()) == (b"/slow", True, True)
        await asyncio.wait_for(draining, 5)


async def test_drain__lets_an_answer_half_out_finish() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first half, ")
        begun.set()
        await go_on.wait()
        await response.write(b"second half")
        return response

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(get())
        await begun.wait()
        draining = asyncio.create_task(listener.drain(60))
        await asyncio.sleep(0.02)
        go_on.set()
        assert (await client.answer()).body == b"first half, second half"
        assert await client.ends()
        await asyncio.wait_for(draining, 5)


async def test_drain__lets_an_upload_in_flight_finish() -> None:
    async with serving(echo) as listener, connected(listener.address) as client:
        whole = post(b"x" * 1000)
        await client.send(whole[:-500])
        await until(lambda: listener.requests_in_flight == 1)
        draining = asyncio.create_task(listener.drain(60))
        await asyncio.sleep(0.02)
        answer = await client.ask(whole[-500:])
        assert (answer.status, answer.closes) == (200, True)
        await asyncio.wait_for(draining, 5)


async def test_drain__out_of_time__cuts_what_is_left() -> None:
    gate = Gate()
    async with serving(gate) as listener, connected(listener.address) as client:
        await client.send(get())
        await gate.arrived()
        await asyncio.wait_for(listener.drain(0.1), 5)
        assert (gate.cancelled.is_set(), listener.open_connections, listener.requests_in_flight) == (True, 0, 0)
        with pytest.raises(ConnectionError):
            await client.rest()


async def test_drain__waits_for_what_a_cut_handler_has_to_clean_up() -> None:
    entered, cleaned = asyncio.Event(), []

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(1)
        return web.Response()

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(get())
        await entered.wait()
        await listener.drain(0)
        assert cleaned == [1]


async def test_drain__asked_a_second_time__cuts_now() -> None:
    gate = Gate()
    async with serving(gate) as listener, connected(listener.address) as client:
        await client.send(get())
        await gate.arrived()
        first = asyncio.create_task(listener.drain(60))
        await asyncio.sleep(0.02)
        assert not first.done()
        await asyncio.wait_for(listener.drain(60), 5)
        await asyncio.wait_for(first, 5)
        assert gate.cancelled.is_set()


async def test_drain__a_client_that_does_not_read_its_answer__is_cut_in_the_end() -> None:
    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(20_000_000))

    async with serving(handler) as listener, connected(listener.address, receive_buffer=4096) as client:
        await client.send(get())
        await until(lambda: listener.requests_in_flight == 1)
        await asyncio.wait_for(listener.drain(0.1), 5)
        assert listener.open_connections == 0


async def test_drain__a_handler_that_does_not_end__is_told_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyproxy.wire.listener._LAST_WAIT", 0.1)
    release, entered = asyncio.Event(), asyncio.Event()

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        entered.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return web.Response()

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.send(get())
        await entered.wait()
        await asyncio.wait_for(listener.drain(0), 5)
        assert "do not end" in caplog.text
        release.set()
        await until(lambda: listener.requests_in_flight == 0)


async def test_drain__leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    async with serving(echo) as listener, connected(listener.address) as client:
        await client.ask(get())
        await client.send(b"GET")
        await until(lambda: listener.open_connections == 1)
    assert asyncio.all_tasks() == before


async def test_drain__before_start__does_nothing() -> None:
    await Listener(echo, LOCAL, limits=Limits()).drain(1)


def test_connection__takes_no_name_that_aiohttp_uses() -> None:
    assert [name for name in Connection.__slots__ if hasattr(BaseProtocol, name)] == []


def test_connection__has_what_aiohttp_asks_a_requests_protocol_for() -> None:
    asked = set(re.findall(r"protocol\.([a-z]\w+)", inspect.getsource(web_request.BaseRequest)))
    bounds_of_forms = {"max_field_size", "max_headers"}  # asked by `multipart`, which nobody calls
    assert asked - bounds_of_forms == {"ssl_context", "peername", "sockname", "transport"}
    assert all(hasattr(Connection, name) for name in asked - bounds_of_forms)


async def test_socket__is_kept_alive_by_the_kernel() -> None:
    seen = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        seen.append(request.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        return web.Response()

    async with serving(handler) as listener, connected(listener.address) as client:
        await client.ask(get())
    assert seen == [1]


async def test_connections__that_are_gone__leave_nothing_to_the_collector_of_garbage() -> None:
    def alive() -> list[Connection]:
        return [one for one in gc.get_objects() if isinstance(one, Connection)]

    gate = Gate()
    gc.collect()
    gc.disable()
    try:
        async with serving(echo) as listener, serving(gate) as held:
            for raw in (get(), post(b"abc"), post(b"abc", "Connection: close"), get().replace(b"Host", b"Hos\0")):
                async with connected(listener.address) as client:
                    await client.ask(raw)
            async with connected(held.address) as client:
                await client.send(get())
                await gate.arrived()
                client.reset()
                await gate.cancelled.wait()
            await until(lambda: not alive())
    finally:
        gc.enable()
