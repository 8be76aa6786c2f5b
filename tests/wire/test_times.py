"""When waiting has been too long, from numbers alone."""

from __future__ import annotations

import pytest

from pyproxy.wire.intake import Intake, Reading
from pyproxy.wire.limits import Limits
from pyproxy.wire.times import Act, Times

LIMITS = Limits()  # 10 s for a head, 30 for a body, 75 between requests, 60 for sending, 5 to linger


def due(
    after: float,
    *,
    reading: Reading = Reading.HEAD,
    held: bytes = b"",
    served: bool = False,
    busy: bool = False,
    awaited: bool = False,
) -> Act:
    intake, times = Intake(LIMITS), Times(100.0)
    intake.take(held)
    intake.reading = reading
    times.served = served
    return times.due(100.0 + after, LIMITS, intake, busy=busy, awaited=awaited)


@pytest.mark.parametrize(
    ("facts", "limit", "act"),
    [
        ({}, 10, Act.CLOSE),
        ({"held": b"GET"}, 10, Act.REFUSE),
        ({"held": b"GET", "served": True}, 10, Act.REFUSE),
        ({"served": True}, 75, Act.CLOSE),
        ({"busy": True, "awaited": True, "reading": Reading.LENGTH}, 30, Act.BREAK_OFF),
        ({"busy": True, "awaited": True, "reading": Reading.OPEN}, 30, Act.BREAK_OFF),
        ({"reading": Reading.DEAF}, 5, Act.ABORT),
    ],
)
def test_due__after_its_time_and_not_before(facts: dict[str, object], limit: float, act: Act) -> None:
    assert due(limit, **facts) is Act.WAIT  # type: ignore[arg-type]  # facts are of several types
    assert due(limit + 0.01, **facts) is act  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "facts", [{"busy": True}, {"busy": True, "held": b"GET"}, {"reading": Reading.BEGUN}, {"reading": Reading.LENGTH}]
)
def test_due__never_while_it_is_not_the_clients_turn(facts: dict[str, object]) -> None:
    assert due(1e6, **facts) is Act.WAIT  # type: ignore[arg-type]


def test_stalls__counts_from_the_last_byte_taken() -> None:
    times = Times(0.0)
    assert [times.stalls(at, taken, 60) for at, taken in [(0, 5), (50, 5), (59, 6), (118, 6), (119.5, 6)]] == [
        False, False, False, False, True,
    ]  # fmt: skip


def test_stalls__nothing_to_send__starts_anew() -> None:
    times = Times(0.0)
    assert [times.stalls(at, taken, 60) for at, taken in [(0, 5), (59, None), (61, 5), (120, 5)]] == [False] * 4
