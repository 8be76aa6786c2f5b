from __future__ import annotations

import gc
import weakref

from pyproxy.errors import RemoteBusy, RemoteFailed
from pyproxy.upstream.memory import FailureMemory
from tests.upstream.conftest import Clock

ERROR = RemoteFailed("public", "answered 500 Internal Server Error", final=True)


class Case:
    """A memory with a clock in hand and no jitter (the longest windows)."""

    def __init__(self, *, limit: int = 4096, draw: float = 1.0) -> None:
        self.clock = Clock()
        self.memory = FailureMemory(clock=self.clock, draw=lambda: draw, limit=limit)

    def fail(self, key: str = "a", *, wait: float | None = None, times: int = 1) -> None:
        for _ in range(times):
            self.clock.now += 0.001
            self.memory.failed(key, ERROR, began=self.clock.now, wait=wait)

    def refused(self, *keys: str) -> bool:
        return self.memory.refusal(keys or ("a",)) is not None


def test_memory__first_failure__is_an_accident() -> None:
    case = Case()
    case.fail()

    assert not case.refused()


def test_memory__second_failure__refuses_for_half_a_second() -> None:
    case = Case()
    case.fail(times=2)

    assert case.refused()
    case.clock.now += 0.499
    assert case.refused()
    case.clock.now += 0.002
    assert not case.refused()


def test_memory__refusal__is_the_same_error_in_a_new_object() -> None:
    case = Case()
    case.fail(times=2)

    first, second = case.memory.refusal(["a"]), case.memory.refusal(["a"])

    assert first is not None
    assert first is not second
    assert (str(first), first.final, first.retry_after) == (str(ERROR), True, 0.5)


def test_memory__refusal__keeps_the_kind_of_error() -> None:
    case = Case()
    case.memory.failed("a", RemoteBusy("public", "answered 429"), began=case.clock.now, wait=30)

    assert isinstance(case.memory.refusal(["a"]), RemoteBusy)


class Body(bytearray):
    """What had come of an answer, for a weak look at it."""


def test_memory__failure__holds_nothing_of_the_answer_that_it_came_from() -> None:
    bodies: list[weakref.ref[Body]] = []

    def ask() -> None:
        body = Body(1000)
        bodies.append(weakref.ref(body))
        raise RemoteFailed("public", f"body cut at {len(body)} bytes")

    case = Case()
    for _ in range(2):
        case.clock.now += 0.001
        try:
            ask()
        except RemoteFailed as error:
            case.memory.failed("a", error, began=case.clock.now)
    gc.collect()

    assert case.refused()
    assert [body() for body in bodies] == [None, None]


def test_memory__windows__double_up_to_ten_seconds() -> None:
    case = Case()
    case.fail()
    windows = []
    for _ in range(8):
        case.fail()
        refusal = case.memory.refusal(["a"])
        assert refusal is not None
        windows.append(refusal.retry_after)
        case.clock.now += 20

    assert windows == [0.5, 1, 2, 4, 8, 10, 10, 10]


def test_memory__jitter__shortens_a_window_by_a_quarter_at_most() -> None:
    case = Case(draw=0.0)
    case.fail(times=2)
    case.clock.now += 0.374

    assert case.refused()
    case.clock.now += 0.002
    assert not case.refused()


def test_memory__failing_for_weeks__still_counts() -> None:
    case = Case()
    case.fail(times=5000)

    refusal = case.memory.refusal(["a"])

    assert refusal is not None
    assert refusal.retry_after == 10


def test_memory__after_the_window__one_probes_and_the_others_are_refused() -> None:
    case = Case()
    case.fail(times=2)
    case.clock.now += 1

    assert [case.refused() for _ in range(3)] == [False, True, True]


def test_memory__probe_fails__the_next_window_is_longer() -> None:
    case = Case()
    case.fail(times=2)
    case.clock.now += 1
    assert not case.refused()
    case.fail()
    case.clock.now += 0.9

    assert case.refused()
    case.clock.now += 0.2
    assert not case.refused()


def test_memory__probe_succeeds__all_is_forgotten() -> None:
    case = Case()
    case.fail(times=9)
    case.memory.succeeded("a")

    assert not case.refused()
    assert len(case.memory) == 0
    case.fail()
    assert not case.refused()


def test_memory__probe_leaves__another_may_probe() -> None:
    case = Case()
    case.fail(times=2)
    case.clock.now += 1
    assert not case.refused()
    case.memory.left("a")

    assert [case.refused() for _ in range(2)] == [False, True]


def test_memory__many_in_flight_meet_one_outage__is_one_failure() -> None:
    case = Case()
    began = case.clock.now
    case.clock.now += 1
    for _ in range(500):
        case.clock.now += 0.001
        case.memory.failed("a", ERROR, began=began)

    assert not case.refused()


def test_memory__retry_after__refuses_at_the_first_failure() -> None:
    case = Case()
    case.fail(wait=5.0)
    case.clock.now += 4.9

    assert case.refused()
    case.clock.now += 0.2
    assert not case.refused()


def test_memory__retry_after__is_obeyed_for_a_minute_at_most() -> None:
    case = Case()
    case.fail(wait=600.0)
    case.clock.now += 59

    assert case.refused()
    case.clock.now += 2
    assert not case.refused()


def test_memory__one_of_two_keys__refuses() -> None:
    case = Case()
    case.fail("origin", times=2)

    assert case.refused("origin", "page")
    assert not case.refused("page")


def test_memory__refused_by_one_key__does_not_probe_the_other() -> None:
    case = Case()
    case.fail("page", times=2)
    case.clock.now += 0.2
    case.fail("origin", times=2)
    case.clock.now += 0.4
    assert case.refused("origin", "page")

    assert not case.refused("page")


def test_memory__over_its_limit__forgets_the_longest_untouched() -> None:
    case = Case(limit=2)
    case.fail("a", times=2)
    case.fail("b", times=2)
    case.fail("a")
    case.fail("c", times=2)

    assert [case.refused(key) for key in "abc"] == [True, False, True]
    assert len(case.memory) == 2
