"""Answers known by heart: given only where nothing is under way, nothing has changed and their time is not over."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from pyproxy.part import Descriptor, Part, Spool
from pyproxy.wire.memory import COPIED, DESCRIPTOR, LARGE, OFTEN, Answer, Memory
from tests.daemon import noise
from tests.fakes.raw_client import connected
from tests.wire.serving import connections, get, post, serving, until
from tests.wire.worlds import LONG, Moody, Resting, World


async def test_request__repeated__is_answered_by_heart_with_the_same_bytes() -> None:
    world = World()
    async with serving(world) as listener, connected(listener.address) as client:
        first = await client.ask(get("/a"))
        assert [await client.ask(get("/a")) for _ in range(3)] == [first] * 3
        assert (world.handled, world.repeated) == (1, 3)
        assert world.given[0].clients == ["127.0.0.1"] * 3


async def test_request__known_to_one_client__is_to_another_too() -> None:
    world = World()
    async with serving(world) as listener:
        async with connected(listener.address) as client:
            first = await client.ask(get("/a"))
        async with connected(listener.address) as client:
            assert await client.ask(get("/a")) == first
            assert await client.ask(get("/b")) != first
    assert (world.handled, world.repeated) == (2, 1)


async def at_once(world: World, count: int, *, asked_before: bool) -> list[bytes]:
    """What so many clients are told whose requests come in one turn of the loop."""
    async with serving(world) as listener, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(listener.address)) for _ in range(count)]
        await until(lambda: listener.open_connections == count)
        if asked_before:
            await clients[0].ask(get("/page"))
            world.let_age(listener)
        for connection in connections(listener):
            connection.data_received(get("/page"))
        return [(await client.answer()).body for client in clients]


@pytest.mark.parametrize("large", [b"", noise(LARGE + 1)], ids=["small", "large"])
async def test_request__of_many_at_once__is_made_for_one_and_repeated_for_the_others(large: bytes) -> None:
    world = World(large=large)
    assert await at_once(world, 5, asked_before=False) == [b"GET /page 0 " + large] * 5
    assert (world.handled, world.repeated) == (1, 4)


async def test_request__of_many_at_once__that_is_due__is_made_anew_for_one() -> None:
    world = World()
    assert await at_once(world, 5, asked_before=True) == [b"GET /page 0 "] * 5
    assert (world.handled, world.repeated) == (2, 4)


async def test_request__of_many_at_once__whose_answer_may_not_be_repeated__is_made_for_each() -> None:
    world = World(life=0.0)
    assert await at_once(world, 5, asked_before=False) == [b"GET /page 0 "] * 5
    assert (world.handled, world.repeated) == (5, 0)


async def test_request__of_many_at_once__by_one_that_has_shut_down_its_side__is_answered_and_the_connection_ends() -> (
    None
):
    world = World()
    async with serving(world) as listener, connected(listener.address) as first, connected(listener.address) as last:
        await until(lambda: listener.open_connections == 2)
        one, other = connections(listener)
        one.data_received(get("/a"))
        other.data_received(get("/a"))
        for client in (first, last):
            client.half_close()
        other.eof_received()
        assert [(await client.answer()).body for client in (first, last)] == [b"GET /a 0 "] * 2
        assert [await client.ends() for client in (first, last)] == [True, True]


@pytest.mark.parametrize("path", ["/304", "/a"])
async def test_head_and_304__repeated__have_no_body(path: str) -> None:
    world = World()
    async with serving(world) as listener, connected(listener.address) as client:
        for _ in range(3):
            assert (await client.ask(get(path, method="HEAD"), to_head=True)).body == b""
            assert (await client.ask(get("/304"))).status == 304
    assert world.repeated == 4


async def test_answer__that_no_longer_holds__is_made_anew() -> None:
    world = World()
    async with serving(world) as listener, connected(listener.address) as client:
        await client.ask(get("/a"))
        world.change()
        assert (await client.ask(get("/a"))).body == b"GET /a 1 "
        assert world.repeated == 0


async def test_answer__whose_time_is_over__is_made_anew_and_not_kept() -> None:
    world = World(life=0.0)
    async with serving(world) as listener, connected(listener.address) as client:
        await client.ask(get("/a"))
        await client.ask(get("/a"))
        assert (world.handled, world.repeated) == (2, 0)
        memory = connections(listener)[0]._shared.memory
        await until(lambda: not memory.answers and memory.bytes == 0)


@pytest.mark.parametrize(
    "request_",
    [
        get("/a").replace(b"HTTP/1.1", b"HTTP/1.0"),
        get("/a", "Connection: close"),
        get("/a", "Content-Length: 0"),
        get("/a", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        get("/a", "Expect: 100-continue"),
        post(b"x", path="/a"),
        get("/a", "Content-Length: 1") + b"x",
    ],
    ids=["1.0", "close", "empty", "chunked", "expect", "post", "body"],
)
async def test_request__that_is_more_than_its_head_or_the_last__is_never_known(request_: bytes) -> None:
    world = World()
    async with serving(world) as listener:
        for _ in range(2):
            async with connected(listener.address) as client:
                assert (await client.ask(request_)).status == 200
    assert (world.handled, world.repeated) == (2, 0)


async def test_answer__sent_in_pieces__is_not_kept() -> None:
    world = World()
    async with serving(world) as listener, connected(listener.address) as client:
        for _ in range(2):
            await client.ask(get("/streamed"))
    assert (world.handled, world.repeated) == (2, 0)


async def test_request__behind_one_that_is_being_answered__waits_for_its_turn() -> None:
    world, slow = World(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/slow":
            await slow.wait()
        return await world(request)

    async with serving(handler) as listener, connected(listener.address) as client:
        known = await client.ask(get("/a"))
        await client.send(get("/slow"))
        await until(lambda: listener.requests_in_flight == 1)
        await client.send(get("/a"))
        await until(lambda: connections(listener)[0]._intake.waiting > 0)
        slow.set()
        assert (await client.answer()).body == b"GET /slow 0 "
        assert await client.answer() == known


async def test_client__that_does_not_read__gets_all_in_order_once_it_does() -> None:
    world = World(body=bytes(100_000))
    async with serving(world) as listener, connected(listener.address, receive_buffer=4096) as client:
        first = await client.ask(get("/a"))
        for _ in range(200):
            await client.send(get("/a"))
        assert [await client.answer() for _ in range(200)] == [first] * 200
    assert world.repeated > 0


# ------------------------------------------------------------------ bodies that the kernel sends from a file

LARGE_BODY = noise(3_000_000)


@pytest.mark.parametrize("path", ["/page", "/file"])
@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("spool", [Spool(), Moody(0)], ids=["in a file", "without a file"])
async def test_large_answer__repeated__is_the_same_to_the_last_byte(
    tmp_path: Path, path: str, spool: Spool, *, unix: bool
) -> None:
    world = World(body=LARGE_BODY)
    where = tmp_path / "s" if unix else ("127.0.0.1", 0)
    async with serving(world, where=where, spool=spool) as listener, connected(listener.address) as client:
        first = await client.ask(get(path))
        assert first.body.endswith(LARGE_BODY)
        for _ in range(3):
            assert await client.ask(get(path)) == first
        assert await client.ask(get("/a", "X: 1")) == await client.ask(get("/a", "X: 1"))
    assert world.repeated >= 3
    assert all(missing == 0 for resting in world.given for missing in resting.missing)


@pytest.mark.parametrize("spool", [Spool(), Moody(0)], ids=["in a file", "without a file"])
async def test_large_answer__while_it_is_sent__others_are_answered_and_what_follows_waits(spool: Spool) -> None:
    world = World(body=LARGE_BODY * 4)
    async with serving(world, spool=spool) as listener, connected(listener.address, receive_buffer=4096) as client:
        first = await client.ask(get("/page"))
        await client.send(get("/page"))
        (connection,) = connections(listener)
        await until(lambda: connection.delivers)
        await client.send(get("/page") + get("/b"))
        assert not connection.idle
        async with connected(listener.address) as other:
            assert (await other.ask(get("/page"))) == first
        assert [await client.answer() for _ in range(2)] == [first] * 2
        assert (await client.answer()).body.startswith(b"GET /b 0")


async def test_large_answer__to_a_client_that_goes__is_counted_as_far_as_it_came() -> None:
    world = World(body=LARGE_BODY * 4)
    async with serving(world) as listener:
        async with connected(listener.address, receive_buffer=4096) as client:
            await client.ask(get("/page"))
            await client.send(get("/page"))
            await until(lambda: connections(listener)[0].delivers)
        await until(lambda: listener.open_connections == 0)
    (missing,) = world.given[0].missing
    assert 0 < missing < len(LARGE_BODY) * 4


async def test_large_answer__to_a_client_that_does_not_read__is_cut() -> None:
    world = World(body=LARGE_BODY * 4)
    async with (
        serving(world, send_stall=0.2) as listener,
        connected(listener.address, receive_buffer=4096) as client,
    ):
        await client.ask(get("/page"))
        await client.send(get("/page"))
        await until(lambda: listener.open_connections == 0)
        with pytest.raises(ConnectionError):
            await client.rest()


async def test_large_answer__under_way_when_draining_begins__is_sent_to_its_end() -> None:
    world = World(body=LARGE_BODY * 4)
    async with serving(world) as listener, connected(listener.address, receive_buffer=4096) as client:
        first = await client.ask(get("/page"))
        await client.send(get("/page"))
        await until(lambda: connections(listener)[0].delivers)
        draining = asyncio.create_task(listener.drain(10))
        assert await client.answer() == first
        assert await client.ends()
        await draining


async def test_large_answer__under_way_when_time_to_stop_is_over__is_cut_and_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(body=LARGE_BODY * 4)
    async with serving(world) as listener, connected(listener.address, receive_buffer=4096) as client:
        await client.ask(get("/page"))
        await client.send(get("/page"))
        await until(lambda: connections(listener)[0].delivers)
        assert listener.requests_in_flight == 1
        await listener.drain(0)
        with pytest.raises(ConnectionError):
            await client.rest()
    (record,) = [record for record in caplog.records if record.message == "out of time to stop: cut off"]
    assert record.__dict__["fields"] == {"requests": 1}


async def test_large_answer__whose_file_is_shorter_by_now__is_cut() -> None:
    world = World(body=LARGE_BODY)
    async with serving(world) as listener, connected(listener.address) as client:
        await client.ask(get("/file"))
        (answer,) = connections(listener)[0]._shared.memory.answers.values()
        assert answer.part is not None
        os.ftruncate(answer.part.file.fd, 1000)
        await client.send(get("/file"))
        with pytest.raises(ConnectionError):
            await client.rest()


async def test_files__of_answers_that_are_over__are_closed() -> None:
    world = World(body=LARGE_BODY, life=0.2)
    gc.collect()  # what other tests have left open
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
    async with serving(world) as listener:
        async with connected(listener.address) as client:
            for path in ("/page", "/file", "/page", "/file"):
                await client.ask(get(path))
        await until(lambda: listener.open_connections == 0 and listener.bytes_known == 0)
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - names alone


# ------------------------------------------------------------------ on and on


async def test_draining__closes_what_was_answered_by_heart() -> None:
    world = World()
    async with serving(world) as listener, connected(listener.address) as client:
        for _ in range(2):
            await client.ask(get("/a"))
        await listener.drain(1)
        assert await client.ends()


async def test_connection__answered_by_heart__is_kept_alive_from_then() -> None:
    world = World()
    async with serving(world, keep_alive=0.5, header_timeout=LONG) as listener, connected(listener.address) as client:
        started = asyncio.get_running_loop().time()
        await client.ask(get("/a"))
        (connection,) = connections(listener)
        first = connection.idle_since
        await client.ask(get("/a"))
        assert world.repeated == 1
        assert first is not None
        assert connection.idle_since is not None
        assert started < first < connection.idle_since
        assert await client.ends()


def test_memory__full__keeps_what_it_has_and_counts_it() -> None:
    memory = Memory(Spool(), capacity=10_000)
    for number in range(20):
        memory.put(b"%d" % number, Answer(b"head" + bytes(1000), b"", Resting(until=number)))
    assert 0 < memory.bytes <= 10_000
    assert set(memory.answers) == {b"%d" % number for number in range(len(memory.answers))}
    memory.put(b"0", Answer(b"head", b"", Resting()))
    memory.sweep(now=10)
    assert set(memory.answers) == {b"0"}
    assert memory.bytes == 1 + 4 + 1024
    memory.clear()
    assert (memory.answers, memory.bytes) == ({}, 0)


BODY = noise(LARGE + 1)


def a_memory(spool: Spool) -> tuple[Memory, Callable[[], Answer]]:
    """A memory with a large answer, and what gives that answer where it stands."""
    memory = Memory(spool)
    memory.put(b"asked", Answer.of(b"old head", BODY, Resting()))

    def given() -> Answer:
        answer = memory.answers[b"asked"]
        memory.begin_turn()
        assert memory.stands(b"asked", answer, 1.0)
        return answer

    return memory, given


def content(part: Part | Descriptor | None) -> bytes | None:
    match part:
        case Part():
            return os.pread(part.file.fd, part.length, part.start)
        case Descriptor():
            return os.pread(part.fd, os.fstat(part.fd).st_size, 0)
    return None


def test_large_answer__repeated__lies_in_a_file_behind_its_head() -> None:
    _, given = a_memory(Spool())
    answer = given()
    assert (content(answer.whole), content(answer.part)) == (b"old head" + BODY, BODY)


def test_large_answer__made_anew__has_the_file_of_before_and_one_of_its_own_when_it_is_asked_for_often() -> None:
    memory, given = a_memory(Spool())
    before = given().whole
    memory.put(b"asked", Answer.of(b"new", BODY, Resting()))
    answer = given()
    assert (answer.whole, content(answer.part)) == (None, BODY)
    answer.lay_after -= OFTEN
    given()
    assert (content(answer.whole), content(answer.part)) == (b"new" + BODY, BODY)
    assert content(before) == b"old head" + BODY  # which the kernel may still be sending


def test_large_answer__made_anew_while_its_file_was_made__takes_the_body_alone() -> None:
    asked: list[Callable[[], None]] = []

    class Slow(Spool):
        def lay(self, pieces: Sequence[bytes | Part], done: Callable[[Part], None]) -> None:
            asked.append(lambda: Spool().lay(pieces, done))

    memory, given = a_memory(Slow())
    given()
    memory.put(b"asked", Answer.of(b"new", BODY, Resting()))
    asked[0]()
    answer = given()
    assert (answer.whole, content(answer.part)) == (None, BODY)


def test_large_answer__that_got_no_file__asks_for_one_again_when_it_is_made_anew() -> None:
    spool = Moody(2)
    memory, given = a_memory(spool)
    assert [given().part, given().part, spool.asked] == [None, None, 1]
    memory.put(b"asked", Answer.of(b"head", BODY, Resting()))
    assert [content(given().part), spool.asked] == [BODY, 2]


LEAST, MOST = COPIED


def stored(body: bytes) -> Part:
    found: list[Part] = []
    Spool().lay((b"before", body, b"after"), found.append)
    return Part(found[0].file, len(b"before"), len(body))


def a_memory_of_stored(*, files: int, length: int = MOST - 100) -> tuple[Memory, Callable[[], Answer]]:
    memory = Memory(Spool(), files=files)
    body = noise(length)
    memory.put(b"asked", Answer(b"head", b"", Resting(), stored(body)))

    def often() -> Answer:
        answer = memory.answers[b"asked"]
        answer.lay_after -= OFTEN
        memory.begin_turn()
        assert memory.stands(b"asked", answer, 1.0)
        return answer

    return memory, often


def test_stored_file__asked_for_often__is_copied_behind_its_head_and_counted_twice() -> None:
    memory, often = a_memory_of_stored(files=2)
    answer, bytes_before = memory.answers[b"asked"], memory.bytes
    assert (answer.whole, memory.files) == (None, 1)
    often()
    assert answer.part is not None
    assert content(answer.whole) == b"head" + (content(answer.part) or b"")
    assert (memory.files, memory.bytes) == (2, bytes_before + DESCRIPTOR)
    memory.forget(b"asked")
    assert (memory.files, memory.bytes) == (0, 0)


@pytest.mark.parametrize(("files", "length"), [(1, LEAST), (2, MOST)], ids=["no room", "too large"])
def test_stored_file__without_room_for_a_copy_or_too_large__is_sent_as_it_is(files: int, length: int) -> None:
    memory, often = a_memory_of_stored(files=files, length=length)
    assert often().whole is None
    assert memory.files == 1


@pytest.mark.parametrize(("length", "files"), [(LEAST, 1), (LEAST // 2, 0)])
def test_small_answer__asked_for_often__lies_in_a_file_if_that_is_faster(length: int, files: int) -> None:
    memory, body = Memory(Spool()), noise(length)
    answer = Answer.of(b"head", body, Resting())
    memory.put(b"asked", answer)
    assert memory.files == 0
    for repetitions in (0, OFTEN - 1, 1):
        assert answer.whole is None
        answer.lay_after -= repetitions
        memory.begin_turn()
        assert memory.stands(b"asked", answer, 1.0)
    assert content(answer.whole) == (b"head" + body if files else None)
    assert memory.files == files


def test_stored_file__shorter_than_it_was__is_not_copied() -> None:
    memory, often = a_memory_of_stored(files=2)
    (part,) = [answer.part for answer in memory.answers.values()]
    assert part is not None
    os.ftruncate(part.file.fd, 1000)
    assert often().whole is None


def test_memory__holds_no_more_files_open_than_it_may() -> None:
    memory = Memory(Spool(), files=2)
    for number in range(4):
        memory.put(b"%d" % number, Answer.of(b"head", bytes(LARGE + 1), Resting()))
    memory.put(b"small", Answer.of(b"head", b"body", Resting()))
    assert set(memory.answers) == {b"0", b"1", b"small"}
    memory.put(b"1", Answer.of(b"head", bytes(LARGE + 2), Resting()))  # in its own place
    memory.forget(b"0")
    assert memory.files == 1
    memory.clear()
    assert memory.files == 0
