from __future__ import annotations

import asyncio

import pytest

from pyproxy.upstream.slots import Slots


def soon() -> float:
    return asyncio.get_running_loop().time() + 0.01


async def taken(slots: Slots, *kinds: str) -> int:
    """How many of the places can be taken at once."""
    count = 0
    for kind in kinds:
        try:
            await slots.take(kind, until=soon())  # type: ignore[arg-type] # a Kind
        except TimeoutError:
            continue
        count += 1
    return count


@pytest.mark.parametrize(("limit", "share"), [(1, 1), (2, 1), (3, 2), (5, 4), (50, 40)])
async def test_take__one_kind__gets_four_fifths(limit: int, share: int) -> None:
    assert await taken(Slots(limit), *["file"] * (share + 1)) == share
    assert await taken(Slots(limit), *["page"] * (share + 1)) == share


async def test_take__both_kinds__get_all_and_no_more() -> None:
    assert await taken(Slots(5), *["file"] * 4, "page", "page") == 5


@pytest.mark.parametrize("kind", ["page", "list", "metadata", "json", "provenance"])
async def test_take__all_that_is_no_file__counts_together(kind: str) -> None:
    assert await taken(Slots(5), "page", "json", "list", "metadata", kind) == 4


async def test_release__twice__gives_one_place_back() -> None:
    slots = Slots(1)
    release = await slots.take("file", until=soon())
    release()
    release()

    assert await taken(slots, "file", "file") == 1


async def test_take__given_up_while_all_are_taken__leaves_the_share_as_it_was() -> None:
    slots = Slots(5)
    files = [await slots.take("file", until=soon()) for _ in range(4)]
    await slots.take("page", until=soon())
    assert await taken(slots, "page", "page", "page") == 0
    for release in files:
        release()

    assert await taken(slots, "page", "page", "page") == 3


@pytest.mark.parametrize(("given_back", "served"), [("file", "file"), ("page", "page")])
async def test_take__who_came_first__is_first_as_far_as_its_share_goes(given_back: str, served: str) -> None:
    """A file waits, then a page. What a page gives back is no place for a file while files have all their share."""
    slots = Slots(5)
    held = {kind: await slots.take(kind, until=soon()) for kind in ("page", "file")}
    for _ in range(3):
        await slots.take("file", until=soon())
    later = asyncio.get_running_loop().time() + 9
    waiting = {asyncio.create_task(slots.take(kind, until=later)): kind for kind in ("file", "page")}
    await asyncio.sleep(0)

    held[given_back]()

    done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert [waiting[task] for task in done] == [served]
    for task in others:
        task.cancel()


async def test_take__cancelled_as_its_place_is_handed_out__gives_it_to_the_next() -> None:
    slots = Slots(1)
    give_back = await slots.take("page", until=soon())
    later = asyncio.get_running_loop().time() + 9
    first, second = (asyncio.create_task(slots.take("page", until=later)) for _ in range(2))
    await asyncio.sleep(0)

    give_back()
    first.cancel()

    with pytest.raises(asyncio.CancelledError):
        await first
    (await second)()
    assert await taken(slots, "page") == 1


async def test_take__gave_up__is_passed_over() -> None:
    slots = Slots(1)
    give_back = await slots.take("page", until=soon())
    with pytest.raises(TimeoutError):
        await slots.take("page", until=soon())
    waiting = asyncio.create_task(slots.take("file", until=asyncio.get_running_loop().time() + 9))
    await asyncio.sleep(0)

    give_back()

    (await waiting)()
