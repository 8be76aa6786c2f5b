from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.upstream.ranges import Span, accepted, asked, check_condition, span, total_of_none
from pyproxy.upstream.trouble import Trouble
from pyproxy.upstream.values import Validators


@pytest.mark.parametrize(
    ("start", "end", "field"), [(0, None, None), (5, None, "bytes=5-"), (0, 0, "bytes=0-0"), (5, 9, "bytes=5-9")]
)
def test_asked(start: int, end: int | None, field: str | None) -> None:
    assert asked(start, end) == field


def test_span__200__is_the_whole_file_whatever_was_asked() -> None:
    assert span(200, {}, 100, start=40, end=None) == Span(0, 100, 100)


@pytest.mark.parametrize(
    ("start", "end", "told", "expected"),
    [
        (40, None, "bytes 40-99/100", Span(40, 60, 100)),
        (40, 49, "bytes 40-49/100", Span(40, 10, 100)),
        (40, 49, "BYTES  40-49/*", Span(40, 10, None)),
        (40, 200, "bytes 40-99/100", Span(40, 60, 100)),
        (40, None, "bytes 40-49/*", Span(40, 10, None)),
    ],
)
def test_span__206__is_what_was_asked(start: int, end: int | None, told: str, expected: Span) -> None:
    assert span(206, {"Content-Range": told}, expected.length, start=start, end=end) == expected


@pytest.mark.parametrize(
    ("start", "end", "told", "length"),
    [
        (0, None, "bytes 0-99/100", 100),
        (40, None, "", 60),
        (40, None, "bytes */100", 60),
        (40, None, "items 40-99/100", 60),
        (40, None, "bytes 40-99", 60),
        (40, None, "bytes 41-99/100", 59),
        (40, None, "bytes 0-99/100", 100),
        (40, None, "bytes 40-39/100", 0),
        (40, 49, "bytes 40-50/100", 11),
        (40, None, "bytes 40-100/100", 61),
        (40, None, "bytes 40-49/100", 10),
        (40, 49, "bytes 40-49/100", 11),
    ],
)
def test_span__206__of_something_else_is_trouble(start: int, end: int | None, told: str, length: int) -> None:
    with pytest.raises(Trouble):
        span(206, {"Content-Range": told}, length, start=start, end=end)


@given(st.integers(0, 1000), st.integers(1, 1000), st.integers(1, 1000))
def test_span__as_a_good_server_answers__is_taken(start: int, length: int, rest: int) -> None:
    total = start + length + rest
    headers = {"Content-Range": f"bytes {start}-{start + length - 1}/{total}"}

    assert span(206, headers, length, start=start, end=start + length - 1) == Span(start, length, total)


def test_check_condition__other_strong_etag__is_trouble() -> None:
    with pytest.raises(Trouble):
        check_condition('"a"', Validators('"b"'))


@pytest.mark.parametrize(
    ("condition", "told"),
    [(None, '"b"'), ('"a"', '"a"'), ('"a"', None), ("Sat, 01 Jan 2022 00:00:00 GMT", '"b"')],
)
def test_check_condition__same_or_unknown__passes(condition: str | None, told: str | None) -> None:
    check_condition(condition, Validators(told))


@pytest.mark.parametrize(
    ("status", "field", "expected"),
    [(200, "bytes", True), (200, "items, Bytes", True), (200, "none", False), (200, "", False), (206, "", True)],
)
def test_accepted(status: int, field: str, *, expected: bool) -> None:
    assert accepted(status, {"Accept-Ranges": field}) is expected


@pytest.mark.parametrize(("field", "total"), [("bytes */0", 0), ("bytes */17", 17), ("bytes 0-0/17", None), ("", None)])
def test_total_of_none(field: str, total: int | None) -> None:
    assert total_of_none({"Content-Range": field}) == total
