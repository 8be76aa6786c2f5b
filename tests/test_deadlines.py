"""Many waits, one timer."""

from __future__ import annotations

import asyncio

import pytest

from pyproxy.deadlines import Deadlines


class Late:
    """Which keys were late, in their order."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.told = asyncio.Event()

    def __call__(self, key: str) -> None:
        self.keys.append(key)
        self.told.set()

    async def all(self, count: int) -> list[str]:
        async with asyncio.timeout(10):
            while len(self.keys) < count:
                self.told.clear()
                await self.told.wait()
        return self.keys


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_deadline__that_passes__is_told_once_and_not_before() -> None:
    late = Late()
    deadlines = Deadlines(late)
    when = soon(0.02)
    deadlines.set("a", when)
    assert await late.all(1) == ["a"]
    assert asyncio.get_running_loop().time() >= when
    assert len(deadlines) == 0


async def test_deadline__called_off__is_not_told_and_those_after_it_are() -> None:
    late = Late()
    deadlines = Deadlines(late)
    deadlines.set("a", soon(0.01))
    deadlines.set("b", soon(0.02))
    deadlines.drop("a")
    deadlines.drop("a")
    assert await late.all(1) == ["b"]


async def test_deadlines__in_any_order__are_told_in_time() -> None:
    late = Late()
    deadlines = Deadlines(late)
    for key, seconds in (("c", 0.03), ("a", 0.01), ("d", 60.0), ("b", 0.02)):
        deadlines.set(key, soon(seconds))
    assert await late.all(3) == ["a", "b", "c"]
    deadlines.set("e", soon(-1.0))
    assert await late.all(4) == ["a", "b", "c", "e"]
    assert len(deadlines) == 1


async def test_deadline__set_by_who_is_told_of_one__is_told_too() -> None:
    told: list[str] = []

    def late(key: str) -> None:
        told.append(key)
        if key == "a":
            deadlines.set("b", soon(0.0))
        else:
            done.set()

    deadlines, done = Deadlines(late), asyncio.Event()
    deadlines.set("a", soon(0.0))
    await asyncio.wait_for(done.wait(), 10)
    assert told == ["a", "b"]


async def test_deadline__telling_of_it_fails__the_others_are_told() -> None:
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context["exception"]))
    late = Late()

    def tell(key: str) -> None:
        late(key)
        if key == "a":
            raise ValueError(key)

    deadlines = Deadlines(tell)
    for key in "abc":
        deadlines.set(key, soon(0.0))
    assert await late.all(3) == ["a", "b", "c"]
    assert [str(exc) for exc in failed] == ["a"]


async def test_deadlines__that_pass_one_behind_the_other__are_told_many_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    looks, call_at = 0, loop.call_at

    def counted(*args: object) -> asyncio.TimerHandle:
        nonlocal looks
        looks += 1
        return call_at(*args)  # type: ignore[arg-type] # as they came

    late = Late()
    deadlines = Deadlines(late)
    keys = [str(number) for number in range(400)]
    for number, key in enumerate(keys):
        deadlines.set(key, soon(0.01 + number / 10_000))
    monkeypatch.setattr(loop, "call_at", counted)
    assert await late.all(400) == keys
    assert looks <= 10


async def test_deadlines__later_and_later__take_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    made, call_at = 0, loop.call_at

    def counted(*args: object) -> asyncio.TimerHandle:
        nonlocal made
        made += 1
        return call_at(*args)  # type: ignore[arg-type] # as they came

    monkeypatch.setattr(loop, "call_at", counted)
    deadlines = Deadlines(Late())
    for number in range(100):
        deadlines.set(str(number), soon(60.0))
        deadlines.drop(str(number - 1))
    assert made == 1
