"""What is wrong with a head, from its bytes alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.wire import heads
from pyproxy.wire.limits import Limits

LIMITS = Limits()


def head(line: str = "GET / HTTP/1.1", *fields: str) -> bytes:
    return "\r\n".join([line, *(fields or ("Host: x",)), "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    "host",
    [
        "Host:",
        "Host: ",
        "host:proxy.example",
        "Host: proxy.example:7974",
        "Host: my_proxy:80",
        "Host:\t127.0.0.1:7974 ",
        "HOST: [::1]:7974",
        "Host: [::1]",
        "Host: :80",
        "Host: x:65535",
    ],
)
def test_host__in_any_valid_form__is_taken(host: str) -> None:
    assert heads.fault(head("GET / HTTP/1.1", host), LIMITS) == 0


@pytest.mark.parametrize(
    "host",
    ["a b", "a/b", "user@a", "a,b", "a:b", "a:65536", "a:1:2", "[::1", "::1", "é.example", "a\\b", '"a"', "a?b", "a#b"],
)
def test_host__that_no_url_can_hold__is_400(host: str) -> None:
    assert heads.fault(head("GET / HTTP/1.1", f"Host: {host}"), LIMITS) == 400


def test_host__none_in_http_1_0__is_taken() -> None:
    assert heads.fault(head("GET / HTTP/1.0", "X: y"), LIMITS) == 0


@pytest.mark.parametrize("field", ["X: a\0b", "X\0: a", "X: a\nY: b", "\nX: a"])
def test_field__with_a_byte_that_ends_lines_for_others__is_400(field: str) -> None:
    assert heads.fault(head("GET / HTTP/1.1", "Host: x", field), LIMITS) == 400


def test_field__that_ends_like_host__is_not_one() -> None:
    assert heads.fault(head("GET / HTTP/1.1", "X-Forwarded-Host: evil", "Host: x"), LIMITS) == 0


@pytest.mark.parametrize("status", heads.TEXTS)
def test_refusal__is_a_whole_answer_of_one_line(status: int) -> None:
    top, _, body = heads.refusal(status).partition(heads.END)
    assert top.startswith(f"HTTP/1.1 {status} ".encode())
    assert f"Content-Length: {len(body)}".encode() in top
    assert body.count(b"\n") == 1
    assert body.endswith(b"\n")


@given(st.integers(0, 200), st.lists(st.integers(1, 400), max_size=20))
def test_whole_head__that_is_taken__was_never_at_fault_on_its_way(path: int, fields: list[int]) -> None:
    raw = head("GET /" + "p" * path + " HTTP/1.1", "Host: x", *("X: " + "v" * size for size in fields))
    assert heads.fault(raw, LIMITS) == 0
    assert {heads.fault_so_far(raw[:end], LIMITS) for end in range(1, len(raw))} == {0}


@given(st.binary(max_size=200))
def test_any_bytes__have_a_verdict(raw: bytes) -> None:
    assert heads.fault(raw + heads.END, LIMITS) in {0, *heads.TEXTS}
    assert heads.fault_so_far(raw, LIMITS) in {0, *heads.TEXTS}
