"""Whatever clients do, they are told the same bytes with answers known by heart and without them."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyproxy.part import Spool
from pyproxy.wire import Listener, memory
from tests.daemon import noise
from tests.fakes.raw_client import RawClient
from tests.wire.serving import get, post, serving, until
from tests.wire.worlds import Moody, World

GOOD = [get("/a"), get("/b"), get("/304"), get("/a", method="HEAD"), get("/a", "X-Other: 1"), post(b"abc", path="/a")]
WRONG = [b"GET /a HTTP/1.1\r\n\r\n", b"\x16\x03\x01 noise\r\n\r\n", get("/a", "Content-Length: x")]

Step: TypeAlias = tuple[str, tuple[bytes, ...], list[int]]
"""What is done, the requests that are sent, and where they are cut into pieces."""

streams = st.lists(st.sampled_from(GOOD), min_size=1, max_size=4).map(tuple)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), streams, st.lists(st.integers(0, 300), max_size=3)),
        st.tuples(st.just("change"), st.just(()), st.just([])),
        st.tuples(st.just("reconnect"), st.just(()), st.just([])),
        st.tuples(st.just("wrong"), st.sampled_from(WRONG).map(lambda one: (one,)), st.just([])),
    ),
    max_size=12,
)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    return [stream[begin:end] for begin, end in pairwise(at)]


async def told(world: World, script: list[Step]) -> list[bytes]:
    """All that clients who follow the script are sent."""
    heard: list[bytes] = []
    async with serving(world) as listener:
        client = await RawClient.connect(listener.address)
        try:
            for what, requests, cuts in script:
                stream = b"".join(requests)
                if what == "change":
                    world.change()
                    continue
                if what == "send":
                    for piece in pieces(stream, cuts):
                        await client.send(piece)
                        await asyncio.sleep(0)
                    heard += [repr(await client.answer(to_head=head)).encode() for head in map(is_head, requests)]
                if what == "wrong":
                    await client.send(stream)
                    heard.append(re.sub(rb"Date: [^\r]*\r\n", b"", await client.rest()))
                if what != "send":
                    client.close()
                    client = await RawClient.connect(listener.address)
        finally:
            client.close()
    return heard


def is_head(request: bytes) -> bool:
    return request.startswith(b"HEAD")


@settings(max_examples=60, deadline=None)
@given(steps)
def test_clients__whatever_they_do__are_told_the_same_with_it_and_without_it(
    script: list[Step],
) -> None:
    assert asyncio.run(told(World(hot=True), script)) == asyncio.run(told(World(hot=False), script))


# ------------------------------------------------------------------ several at once

LARGE = noise(600_000)

OFTEN = [get("/a"), get("/page"), get("/file"), get("/page", method="HEAD"), get("/304")]
SELDOM = [get("/b"), post(b"abc", path="/a"), get("/page", "X-Other: 1")]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one client does while others do theirs: asks at its own pace, and reads at once, late, or not at all."""

    requests: tuple[bytes, ...]
    cuts: tuple[int, ...] = ()
    reads: str = "at once"


@dataclass(slots=True)
class Crowd:
    """Clients of one listener, and all that each of them was told."""

    listener: Listener
    clients: list[RawClient] = field(default_factory=list)
    heard: list[list[str]] = field(default_factory=list)

    async def play(self, turns: tuple[Turn, ...]) -> None:
        others_are_done = asyncio.Event()
        late = [
            asyncio.create_task(self._one(number, turn, others_are_done))
            for number, turn in enumerate(turns)
            if turn.reads == "late"
        ]
        now = [self._one(number, turn, None) for number, turn in enumerate(turns) if turn.reads != "late"]
        try:
            await asyncio.gather(*now)
        finally:
            others_are_done.set()
            await asyncio.gather(*late)

    async def _one(self, number: int, turn: Turn, after: asyncio.Event | None) -> None:
        client = self.clients[number]
        for piece in pieces(b"".join(turn.requests), list(turn.cuts)):
            await client.send(piece)
            await asyncio.sleep(0)
        if after is not None:
            await after.wait()
        if turn.reads == "goes":
            await client.receive(1)
            client.reset()
            self.clients[number] = await self.another()
            return
        for request in turn.requests:
            self.heard[number].append(repr(await client.answer(to_head=is_head(request))))

    async def another(self) -> RawClient:
        return await RawClient.connect(self.listener.address)


COUNT = 3

turns = st.builds(
    Turn,
    st.lists(st.sampled_from(OFTEN * 3 + SELDOM), min_size=1, max_size=3).map(tuple),
    st.lists(st.integers(0, 300), max_size=2).map(tuple),
    st.sampled_from(["at once", "at once", "late", "goes"]),
)
rounds = st.lists(
    st.tuples(st.sampled_from(["", "", "", "change", "age"]), st.tuples(*[turns] * COUNT)), min_size=1, max_size=4
)


@contextmanager
def narrow() -> Iterator[socket.socket]:
    """A socket to listen at whose connections hold little of what their clients do not take."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 128 * 1024)
        sock.bind(("127.0.0.1", 0))
        yield sock


async def heard(
    world: World, script: list[tuple[str, tuple[Turn, ...]]], spool: Spool | None = None
) -> list[list[str]]:
    """What each client was told who got to read it."""
    async with AsyncExitStack() as stack:
        where = stack.enter_context(narrow())
        listener = await stack.enter_async_context(serving(world, where=where, spool=spool))
        crowd = Crowd(listener, heard=[[] for _ in range(COUNT)])
        crowd.clients = [await crowd.another() for _ in range(COUNT)]
        for before, turns_of_all in script:
            if before == "change":
                world.change()
            if before == "age":
                world.let_age(listener)
            await crowd.play(turns_of_all)
        for client in crowd.clients:
            client.close()
        await until(lambda: listener.open_connections == 0)
        return crowd.heard


@settings(max_examples=15, deadline=None)
@given(rounds, st.integers(0, 3))
def test_crowd__whatever_it_does__is_told_the_same_with_it_and_without_it(
    script: list[tuple[str, tuple[Turn, ...]]], files: int
) -> None:
    hot, cold = World(hot=True, large=LARGE), World(hot=False, large=LARGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "OFTEN", 1)
        patch.setattr(memory, "COPIED", (0, len(LARGE)))
        patch.setattr(memory, "PER_REPETITION", 2 * len(LARGE))
        told = asyncio.run(heard(hot, script, Moody(files)))
    assert told == asyncio.run(heard(cold, script))
    assert cold.repeated == 0
    assert hot.handled + hot.repeated <= sum(len(turn.requests) for _, turns in script for turn in turns)


def test_crowd__that_asks_for_the_same__has_it_by_heart_as_fast_as_each_of_it_reads() -> None:
    turns = (Turn((get("/page"),) * 3, reads="late"), Turn((get("/page"),)), Turn((get("/page"),), reads="goes"))
    world = World(large=LARGE)
    asyncio.run(heard(world, [("", turns)] * 5))
    assert world.repeated > 0
    missing = [count for resting in world.given for count in resting.missing]
    assert max(missing) > 0  # of one who went
    assert min(missing) == 0
