"""Connections that were answered by heart: served together, and sent back with whatever is not known."""

from __future__ import annotations

import asyncio
import contextlib
import math
import select
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pyproxy.wire import Listener, fast_lane
from pyproxy.wire.memory import Answer
from tests.fakes.raw_client import RawClient, connected
from tests.wire.lanes import Lane, lane_of, never
from tests.wire.serving import connections, get, post, serving, until
from tests.wire.worlds import LONG, Resting, World


def members(listener: Listener) -> int:
    assert listener._server is not None
    assert listener._server.lane is not None
    return len(listener._server.lane)


@contextlib.asynccontextmanager
async def in_the_lane(
    world: World, **limits: Any
) -> AsyncIterator[tuple[Listener, RawClient]]:  # Any: fields of Limits
    """A client whose last request was answered by heart."""
    async with serving(world, **limits) as listener, connected(listener.address) as client:
        for _ in range(2):
            await client.ask(get("/a"))
        assert members(listener) == 1
        yield listener, client


async def test_client__answered_by_heart__stays_in_the_lane_while_it_asks_what_is_known() -> None:
    world = World()
    async with in_the_lane(world) as (listener, client):
        for _ in range(5):
            await client.ask(get("/a"))
        assert members(listener) == 1
        assert (world.handled, world.repeated) == (1, 6)


async def test_client__asks_what_is_not_known__is_answered_and_comes_back_later() -> None:
    world = World()
    async with in_the_lane(world) as (listener, client):
        assert (await client.ask(get("/b"))).body == b"GET /b 0 "
        assert members(listener) == 0
        assert (await client.ask(post(b"x" * 100_000, path="/c"))).body == b"POST /c 0 " + b"x" * 100_000
        await client.ask(get("/a"))
        assert members(listener) == 1


@pytest.mark.parametrize("cut", [1, 10, -1])
async def test_head__that_comes_in_two_pieces__is_answered_once_it_is_whole(cut: int) -> None:
    world = World()
    async with in_the_lane(world) as (listener, client):
        await client.send(get("/a")[:cut])
        await until(lambda: members(listener) == 0)
        assert not connections(listener)[0].idle
        await client.send(get("/a")[cut:])
        assert (await client.answer()).body == b"GET /a 0 "


async def test_heads__two_at_once__are_both_answered_in_their_order() -> None:
    world = World()
    async with in_the_lane(world) as (_, client):
        await client.send(get("/a") + get("/b") + get("/a"))
        assert [(await client.answer()).body for _ in range(3)] == [b"GET /a 0 ", b"GET /b 0 ", b"GET /a 0 "]


async def test_client__that_goes__is_noticed() -> None:
    async with in_the_lane(World()) as (listener, client):
        client.close()
        await until(lambda: listener.open_connections == 0)
        assert members(listener) == 0


async def test_client__that_resets_the_connection__is_noticed() -> None:
    async with in_the_lane(World()) as (listener, client):
        client.reset()
        await until(lambda: listener.open_connections == 0)
        assert members(listener) == 0


async def test_client__that_says_its_last_amid_a_large_answer__gets_all_of_it() -> None:
    world = World(body=bytes(12_000_000))
    async with serving(world) as listener, connected(listener.address, receive_buffer=4096) as client:
        first = await client.ask(get("/page"))
        await client.send(get("/page"))
        await until(lambda: connections(listener)[0].delivers)
        client.half_close()
        assert await client.answer() == first
        assert await client.ends()
        assert world.repeated == 1


async def test_client__that_says_nothing__is_closed_when_its_time_is_over() -> None:
    async with in_the_lane(World(), keep_alive=0.1) as (listener, client):
        assert await client.ends()
        await until(lambda: members(listener) == 0)


async def test_answer__that_no_longer_holds__is_made_anew_for_a_client_in_the_lane() -> None:
    world = World()
    async with in_the_lane(world) as (_, client):
        world.change()
        assert (await client.ask(get("/a"))).body == b"GET /a 1 "


async def test_clients__more_than_are_looked_at_in_one_go__are_all_answered() -> None:
    world = World()
    count = fast_lane._MOST * 2 + 1
    async with serving(world) as listener, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(listener.address)) for _ in range(count)]
        first = [await client.ask(get("/a")) for client in clients]
        assert len({answer.body for answer in first}) == 1
        for _ in range(3):
            assert await asyncio.gather(*(client.ask(get("/a")) for client in clients)) == first
        assert members(listener) == count
    assert world.handled == 1
    assert world.repeated == 4 * count - 1


async def test_requests__of_one_go__are_counted_with_their_answer_all_at_once() -> None:
    world = World()
    async with serving(world) as listener, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(listener.address)) for _ in range(8)]
        for client in clients:
            await client.ask(get("/a"))
        before = len(world.given[0].missing)
        for client in clients:  # all are there before the loop looks again
            await client.send(get("/a"))
        for client in clients:
            await client.answer()
    assert world.repeated == 7 + 8
    assert len(world.given[0].missing) - before < 8


# ------------------------------------------------------------------ made anew while others have the old


async def test_answer__that_is_due__is_made_anew_by_one_while_others_have_the_old() -> None:
    world, slow = World(), asyncio.Event()
    async with serving(world) as listener, connected(listener.address) as one, connected(listener.address) as other:
        await one.ask(get("/a"))
        await other.ask(get("/a"))
        world.held = slow
        world.let_age(listener)
        await one.send(get("/a"))
        await until(lambda: listener.requests_in_flight == 1)
        assert (await other.ask(get("/a"))).body == b"GET /a 0 "
        world.number = 1
        slow.set()
        assert (await one.answer()).body == b"GET /a 1 "
        assert (await other.ask(get("/a"))).body == b"GET /a 1 "
    assert world.handled == 2


async def test_answer__that_is_due__is_not_given_once_the_new_one_has_begun() -> None:
    world = World()
    async with serving(world) as listener, connected(listener.address) as one, connected(listener.address) as other:
        for client in (one, other):
            await client.ask(get("/streamed"))
            await client.ask(get("/a"))
        world.let_age(listener)
        world.hot = False  # what is made now is not known afterwards
        world.number = 1
        assert (await one.ask(get("/a"))).body == b"GET /a 1 "
        assert (await other.ask(get("/a"))).body == b"GET /a 1 "


async def test_answer__whose_second_ended_before_it_was_out__does_not_take_the_place_of_a_newer_one() -> None:
    world = World(body=bytes(12_000_000), second=0.05)
    async with serving(world) as listener, contextlib.AsyncExitStack() as stack:
        slow = await stack.enter_async_context(connected(listener.address, receive_buffer=4096))
        others = [await stack.enter_async_context(connected(listener.address)) for _ in range(2)]
        await slow.send(get("/a"))
        await until(lambda: len(world.given) == 1 and asyncio.get_running_loop().time() > world.given[0].due)
        world.second, world.number, world.body = LONG, 1, b""
        assert (await others[0].ask(get("/a"))).body == b"GET /a 1 "
        assert (await slow.answer()).body.startswith(b"GET /a 0 ")
        await until(lambda: listener.requests_in_flight == 0)
        for client in others:
            assert (await client.ask(get("/a"))).body == b"GET /a 1 "
    assert world.handled == 2


# ------------------------------------------------------------------ turns, and what goes wrong

HEAD = get("/a")


def known(lane: Lane, asked: bytes = HEAD, body: bytes = b"") -> Resting:
    """An answer that the lane's memory has by heart from now on, and what it rests on."""
    resting = Resting(until=math.inf)
    lane.memory.put(asked, Answer.of(b"answer", body, resting))
    return resting


async def test_clients__more_than_there_is_time_for__have_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_lane, "_LONGEST", -1.0)  # time for one of them in each go
    with lane_of(4) as (lane, peers):
        known(lane)
        heard = [0] * 4
        for peer in peers:
            peer.ask(HEAD)
        for _ in range(8):
            lane.go()
            for number, peer in enumerate(peers):
                if peer.hear() > heard[number]:  # asks again at once
                    heard[number] = peer.heard
                    peer.ask(HEAD)
        assert heard == [2 * len(b"answer")] * 4


async def test_large_answers__to_many__take_no_longer_in_one_go_than_small_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fast_lane, "_LONGEST", -1.0)
    with lane_of(3) as (lane, peers):
        known(lane, body=bytes(4_000_000))
        for peer in peers:
            peer.ask(HEAD)
        for _ in range(3):
            lane.go()
        assert all(peer.member.delivery is not None for peer in peers)
        heard = [peer.hear() for peer in peers]
        lane.go()
        assert sum(peer.hear() > before for peer, before in zip(peers, heard, strict=True)) == 1


async def test_answer__that_cannot_be_looked_at__costs_its_own_client_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with lane_of(4) as (lane, peers):
        fine, other = known(lane), known(lane, get("/wrong"))
        monkeypatch.setattr(other, "holds", never)
        for peer, asked in zip(peers, (HEAD, b"unheard of", get("/wrong"), HEAD), strict=True):
            peer.ask(asked)
        lane.go()
        assert [peer.owner.was_cut for peer in peers] == [False, False, True, False]
        assert [peer.hear() for peer in peers] == [6, 0, 0, 6]
        assert peers[1].owner.taken == [b"unheard of"]
        assert len(fine.clients) == 2


async def test_answer__that_cannot_be_counted__leaves_those_of_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with lane_of(3) as (lane, peers):
        first, second = known(lane, get("/wrong")), known(lane)
        peers[2].ask(b"unheard of")
        with monkeypatch.context() as patched:
            patched.setattr(first, "repeated", never)
            peers[0].ask(get("/wrong"))
            peers[1].ask(HEAD)
            lane.go()
        assert (len(first.clients), len(second.clients)) == (0, 1)
        assert peers[2].owner.taken == [b"unheard of"]
        peers[0].ask(get("/wrong"))
        lane.go()
        assert len(first.clients) == 1  # that go's alone


async def test_request__that_stumbles_on_its_way_back__costs_its_own_client_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with lane_of(3) as (lane, peers):
        monkeypatch.setattr(peers[1].owner, "take", never)
        for peer in peers:
            peer.ask(b"unheard of")
        lane.go()
        assert [peer.owner.was_cut for peer in peers] == [False, True, False]
        assert [peer.owner.taken for peer in peers] == [[b"unheard of"], [], [b"unheard of"]]
        assert all(peer.wire.reads for peer in peers)


async def test_client__that_is_gone_and_cannot_be_counted__does_not_hold_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(body=bytes(12_000_000))
    async with serving(world) as listener:
        async with connected(listener.address, receive_buffer=4096) as client:
            await client.ask(get("/page"))
            await client.send(get("/page"))
            await until(lambda: connections(listener)[0].delivers)
            monkeypatch.setattr(world.given[0], "repeated", never)
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # what its callbacks raise
        await until(lambda: listener.open_connections == 0)


# ------------------------------------------------------------------ without it


async def test_clients__where_the_system_has_no_epoll__are_answered_by_the_handler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(select, "epoll")
    world = World()
    async with serving(world) as listener, connected(listener.address) as client:
        assert len({(await client.ask(get("/a"))).body for _ in range(3)}) == 1
    assert (world.handled, world.repeated) == (3, 0)
