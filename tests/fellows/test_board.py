"""The board: each worker's numbers and notices, as every process that maps the memory sees them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pyproxy.errors import StoreFull
from pyproxy.fellows import Board, Column, Downloads, Failure, Notice, Shares
from pyproxy.fellows.board import SLOTS
from pyproxy.fellows.changes import SharedChanges
from pyproxy.storage.room import Room

Both = tuple[Board, Board]


@pytest.fixture
def both() -> Iterator[Both]:
    """One board as two processes have it mapped."""
    first = Board.create(3)
    second = Board(os.dup(first.fd), 3)
    yield first, second
    first.close()
    second.close()


def notice(began: int, *, arrived: int = 0, state: str = "coming", failure: Failure | None = None) -> Notice:
    return Notice(began, state, "1.temp", arrived, headed=True, total=9, validator='"v"', failure=failure)  # type: ignore[arg-type]


def test_numbers__of_every_worker__are_seen_by_all(both: Both) -> None:
    first, second = both
    first.put(Column.CONNECTIONS, 0, 5)
    second.put(Column.CONNECTIONS, 2, 2**63)

    assert first.all(Column.CONNECTIONS) == second.all(Column.CONNECTIONS) == [5, 0, 2**63]
    assert first.all(Column.RESERVED) == [0, 0, 0]


def test_changes__of_another__make_another_stamp(both: Both) -> None:
    mine, others = SharedChanges(both[0], 0), SharedChanges(both[1], 1)
    before = mine.stamp
    assert mine.stamp == before
    others.note()
    assert mine.stamp != before
    seen = mine.stamp
    others.note()
    mine.note()
    assert len({before, seen, mine.stamp}) == 3


def test_look__finds_what_another_tells(both: Both) -> None:
    telling, looking = Downloads(both[0], 0), Downloads(both[1], 1)
    assert looking.look("k") is None
    slot = telling.claim("k")
    assert slot is not None
    assert looking.look("k") is None  # nothing is told yet
    for arrived in (1, 2):
        slot.tell(notice(slot.began, arrived=arrived))
        found = looking.look("k")
        assert found is not None
        assert (found.began, found.arrived, found.temp) == (slot.began, arrived, "1.temp")


def test_look__several_under_one_key__gives_the_latest(both: Both) -> None:
    first, second = Downloads(both[0], 0), Downloads(both[1], 1)
    old = first.claim("k")
    assert old is not None
    old.tell(notice(old.began, state="failed", failure=Failure("RemoteFailed", "no", "far")))
    old.give_back()
    new = second.claim("k")
    assert new is not None
    new.tell(notice(new.began, arrived=7))

    for looking in (first, second, Downloads(both[1], 2)):
        found = looking.look("k")
        assert found is not None
        assert (found.state, found.arrived) == ("coming", 7)


def test_look__slot_used_for_another__finds_nothing(both: Both) -> None:
    telling, looking = Downloads(both[0], 0), Downloads(both[1], 1)
    for number in range(SLOTS + 1):
        slot = telling.claim(f"k{number}")
        assert slot is not None
        slot.tell(notice(slot.began, arrived=number))
        assert looking.look(f"k{number}") is not None
        slot.give_back()

    assert looking.look("k0") is None


def test_claim__all_taken__gives_none(both: Both) -> None:
    downloads = Downloads(both[0], 1)
    slots = [downloads.claim(f"k{number}") for number in range(SLOTS)]
    assert all(slots)
    assert downloads.claim("more") is None
    slots[3].give_back()  # type: ignore[union-attr]  # asserted above
    assert downloads.claim("more") is not None


def test_notice__half_written__is_nothing(both: Both) -> None:
    telling, looking = Downloads(both[0], 0), Downloads(both[1], 1)
    slot = telling.claim("k")
    assert slot is not None
    slot.tell(notice(slot.began, arrived=1))
    [number] = both[0].with_key(both[0].key(0))
    torn = bytearray(both[0].notice(number))
    torn[12] ^= 1
    both[0].put_notice(number, bytes(torn))

    assert looking.look("k") is None


def test_tell__longer_than_its_place__stays_untold(both: Both) -> None:
    telling, looking = Downloads(both[0], 0), Downloads(both[1], 1)
    slot = telling.claim("k")
    assert slot is not None
    slot.tell(notice(slot.began, failure=Failure("RemoteFailed", "x" * 5000)))

    assert looking.look("k") is None


# ---------------------------------------------------------------------- shares


def test_room__of_two_workers__is_one_limit(both: Both) -> None:
    first, second = Room(100), Room(100)
    first.share(Shares(both[0], 0).pledge)
    second.share(Shares(both[1], 1).pledge)
    first.claim(60)
    with pytest.raises(StoreFull, match="have taken 60 of the cache's 100"):
        second.claim(41)
    second.claim(40)
    assert (first.reserved, first.reserved_by_all, second.pledged) == (60, 100, 100)
    first.settle(60)
    assert (second.reserved_by_all, second.pledged) == (40, 100)
    first.give_back(0, 60)
    second.give_back(40)
    assert (first.pledged, second.pledged) == (0, 0)


def test_ahead__with_more_connections_than_another_that_lives(both: Both) -> None:
    first, second = Shares(both[0], 0), Shares(both[1], 1)
    assert not first.is_ahead(100)  # nobody else is there
    first.beat()
    second.beat()
    assert not second.is_ahead(98)
    assert not first.is_ahead(100)
    assert first.is_ahead(101)
    assert not second.is_ahead(100)
