"""One call per key."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from pyproxy.errors import RemoteFailed
from pyproxy.singleflight import Flights


async def test_join__while_under_way__calls_once() -> None:
    joined: list[int] = []
    flights: Flights[str, int] = Flights(joined=lambda: joined.append(1))
    gate, calls = asyncio.Event(), 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        await gate.wait()
        return calls

    waiting = [asyncio.create_task(flights.wait("a", call)) for _ in range(20)]
    await asyncio.sleep(0)
    gate.set()

    assert await asyncio.gather(*waiting) == [1] * 20
    assert len(joined) == 19


async def test_join__after_landing__calls_again() -> None:
    flights: Flights[str, int] = Flights()
    calls = 0

    async def call() -> int:
        nonlocal calls
        calls += 1
        return calls

    assert [await flights.wait("a", call), await flights.wait("a", call)] == [1, 2]


async def test_wait__cancelled_waiter__does_not_end_the_flight() -> None:
    flights: Flights[str, str] = Flights()
    gate = asyncio.Event()

    async def call() -> str:
        await gate.wait()
        return "here"

    first = asyncio.create_task(flights.wait("a", call))
    second = asyncio.create_task(flights.wait("a", call))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.set()

    assert await second == "here"


async def test_wait__out_of_patience__leaves_the_flight_going() -> None:
    flights: Flights[str, str] = Flights()
    gate = asyncio.Event()

    async def call() -> str:
        await gate.wait()
        return "late"

    with pytest.raises(TimeoutError):
        await flights.wait("a", call, patience=0.0)
    assert len(flights) == 1
    again = asyncio.create_task(flights.wait("a", call))
    await asyncio.sleep(0)
    gate.set()

    assert await again == "late"


async def test_wait__failing_call__fails_for_everybody_at_once() -> None:
    flights: Flights[str, str] = Flights()

    async def call() -> str:
        await asyncio.sleep(0)
        raise LookupError("no")

    results = await asyncio.gather(*(flights.wait("a", call) for _ in range(3)), return_exceptions=True)

    assert [type(result) for result in results] == [LookupError] * 3
    assert len(flights) == 0


async def test_close__cancels_what_is_under_way() -> None:
    flights: Flights[str, str] = Flights()
    never, ended = asyncio.Event(), asyncio.Event()

    async def call() -> str:
        try:
            await never.wait()
        finally:
            ended.set()
        return "never"

    waiting = asyncio.create_task(flights.wait("a", call))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    flights.join("b", call)  # not begun yet
    late = asyncio.create_task(flights.wait("b", call))
    await flights.close()

    assert ended.is_set()
    assert len(flights) == 0
    ends = await asyncio.gather(waiting, late, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2


async def test_contains__only_while_under_way() -> None:
    flights: Flights[str, str] = Flights()
    gate = asyncio.Event()

    async def call() -> str:
        await gate.wait()
        return "here"

    flights.join("a", call)
    assert "a" in flights
    gate.set()
    assert await flights.wait("a", call) == "here"
    assert "a" not in flights


async def test_age__counts_from_the_beginning_of_the_flight() -> None:
    flights: Flights[str, str] = Flights()
    assert flights.age("a") == 0.0
    begun = asyncio.get_running_loop().time()

    async def call() -> str:
        await asyncio.Event().wait()
        return "never"

    flights.join("a", call)
    assert 0.0 <= flights.age("a") <= asyncio.get_running_loop().time() - begun
    await flights.close()


@pytest.mark.parametrize("error", [ValueError("a bug"), RemoteFailed("far", "down")])
async def test_flight__fails_after_all_have_gone__is_told_of_where_it_is_a_bug(
    caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    flights: Flights[str, str] = Flights()
    ended = asyncio.Event()

    async def call() -> str:
        ended.set()
        raise error

    flights.join("a", call)
    await ended.wait()

    assert len(flights) == 0
    assert [record.levelname for record in caplog.records] == (["ERROR"] if isinstance(error, ValueError) else [])


async def test_flight__that_fails__keeps_nothing_alive() -> None:
    flights: Flights[str, str] = Flights()
    gone: list[weakref.ref[RemoteFailed]] = []

    async def call() -> str:
        error = RemoteFailed("far", "down")
        gone.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    gc.disable()
    try:
        with pytest.raises(RemoteFailed):
            await flights.wait("a", call)
        await asyncio.sleep(0)
        assert [ref() for ref in gone] == [None]
    finally:
        gc.enable()
