from __future__ import annotations

import asyncio

import pytest

from pyproxy.upstream.slots import Slots


async def taken(slots: Slots, *kinds: str) -> int:
    """How many of the places can be taken at once."""
    count = 0
    for kind in kinds:
        try:
            async with asyncio.timeout(0.01):
                await slots.take(kind)  # type: ignore[arg-type] # a Kind
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
    release = await slots.take("file")
    release()
    release()

    assert await taken(slots, "file", "file") == 1


async def test_take__given_up_while_all_are_taken__leaves_the_share_as_it_was() -> None:
    slots = Slots(5)
    files = [await slots.take("file") for _ in range(4)]
    await slots.take("page")
    assert await taken(slots, "page", "page", "page") == 0
    for release in files:
        release()

    assert await taken(slots, "page", "page", "page") == 3
