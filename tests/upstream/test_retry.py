from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.errors import RemoteBusy
from pyproxy.upstream import retry

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


def test_pause__doubles_from_a_tenth_of_a_second_to_two() -> None:
    assert [round(retry.pause(attempt, 1.0), 1) for attempt in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_pause__is_drawn_from_the_whole_range(attempt: int, draw: float) -> None:
    assert 0 <= retry.pause(attempt, draw) <= draw * 2


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 527])
def test_refusal__transient_status__may_be_asked_again(status: int) -> None:
    assert retry.refusal(status, {}, now=NOW).again


@pytest.mark.parametrize("status", [400, 401, 403, 404, 406, 416, 418, 451, 501, 505, 530, 599, 204, 206])
def test_refusal__other_status__may_not(status: int) -> None:
    assert not retry.refusal(status, {}, now=NOW).again


@pytest.mark.parametrize("status", [429, 503])
def test_refusal__retry_after__is_a_busy_remote(status: int) -> None:
    trouble = retry.refusal(status, {"Retry-After": "2"}, now=NOW)

    assert (trouble.error, trouble.again, trouble.retry_after) == (RemoteBusy, True, 2.0)


def test_refusal__429_without_retry_after__is_left_alone() -> None:
    trouble = retry.refusal(429, {}, now=NOW)

    assert (trouble.error, trouble.again) == (RemoteBusy, False)


def test_refusal__502_of_another_pyproxy__is_final() -> None:
    trouble = retry.refusal(502, {"Proxy-Status": "pyproxy; error=destination_unavailable"}, now=NOW)

    assert (trouble.final, trouble.again) == (True, False)


@pytest.mark.parametrize("status", [500, 503, 504])
def test_refusal__other_errors_of_a_pyproxy__are_not_final(status: int) -> None:
    trouble = retry.refusal(status, {"Proxy-Status": "pyproxy; error=proxy_internal_error"}, now=NOW)

    assert (trouble.final, trouble.again) == (False, True)


@pytest.mark.parametrize(
    ("field", "final"),
    [
        ("pyproxy; error=connection_refused", True),
        ('"pyproxy";error=connection_refused; details="x"', True),
        ("nearest; received-status=502, pyproxy; error=dns_error", True),
        ("pyproxy", False),
        ("pyproxy; received-status=502", False),
        ("other; error=dns_error", False),
        ("other; error=dns_error, pyproxy", False),
        ("", False),
        (None, False),
    ],
)
def test_is_final(field: str | None, *, final: bool) -> None:
    assert retry.is_final(field) is final


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Tue, 01 Jan 2030 12:00:30 GMT", 30.0),
        ("Tue, 01 Jan 2030 11:00:00 GMT", 0.0),
        ("Tue, 01 Jan 2030 12:00:30 -0000", 30.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 50, None),
        ("", None),
        (None, None),
    ],
)
def test_seconds_until(field: str | None, seconds: float | None) -> None:
    assert retry.seconds_until(field, now=NOW) == seconds


@given(st.text(max_size=60))
def test_seconds_until__any_text__is_seconds_or_nothing(field: str) -> None:
    seconds = retry.seconds_until(field, now=NOW)

    assert seconds is None or seconds >= 0
