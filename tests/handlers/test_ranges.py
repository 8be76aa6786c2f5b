"""Ranges: what is asked for, what is left alone, and several of them as one body."""

from __future__ import annotations

import email
import email.policy
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyproxy.handlers.ranges import (
    RANGES_LIMIT,
    ByteRange,
    Unsatisfiable,
    Whole,
    multipart,
    ranges_of,
    unsatisfied,
)
from pyproxy.model import as_sha256

DIGEST = as_sha256("0123456789abcdef" * 4)


def parts(*pairs: tuple[int, int]) -> tuple[ByteRange, ...]:
    """First and last byte of each range."""
    return tuple(ByteRange(first, last - first + 1) for first, last in pairs)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", parts((0, 9))),
        ("bytes=0-0", parts((0, 0))),
        ("bytes=1023-", parts((1023, 1023))),
        ("bytes=0-", parts((0, 1023))),
        ("bytes=-5", parts((1019, 1023))),
        ("bytes=-1024", parts((0, 1023))),
        ("bytes=-99999", parts((0, 1023))),
        ("bytes=0-99999", parts((0, 1023))),
        ("bytes=0-18446744073709551616", parts((0, 1023))),
        ("bytes=-18446744073709551616", parts((0, 1023))),
        ("bytes=0-" + "9" * 1500, parts((0, 1023))),
        ("bytes=0000000000000000000000000000001-0000000000000000000000000000002", parts((1, 2))),
        ("BYTES=0-9", parts((0, 9))),
        ("bytes= 0-9\t", parts((0, 9))),
        ("bytes=,0-9,,", parts((0, 9))),
        ("bytes=0-0,5-6", parts((0, 0), (5, 6))),
        ("bytes=5-6, 0-0", parts((5, 6), (0, 0))),
        ("bytes=0-4,5-9", parts((0, 4), (5, 9))),
        ("bytes=0-0,-1", parts((0, 0), (1023, 1023))),
        ("bytes=0-0,2000-", parts((0, 0))),
        ("bytes=2000-,-0,7-7", parts((7, 7))),
    ],
)
def test_ranges__of_1024_bytes__are_exact(header: str, expected: tuple[ByteRange, ...]) -> None:
    assert ranges_of(header, 1024) == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=--5",
        "bytes=5-2",
        "bytes=0-0,5-2",
        "bytes=2000-,5-2",
        "bytes=0",
        "bytes=a-b",
        "bytes=0x0-9",
        "bytes=+0-9",
        "bytes=0-9;q=1",
        "bytes=0 - 9",
        "bytes =0-9",
        "bytes:0-9",
        " bytes=0-9",
        "bytes=0-9\n",
        "bytes=1.0-9",
        "bytes=1_0-20",
        "bytes=\u0660-\u0669",
        "byte\u017f=0-9",
        "items=0-5",
        "none=0-5",
        "0-9",
        "bytes=0-9,5-14",
        "bytes=0-0,0-0",
        "bytes=500-,-600",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(RANGES_LIMIT + 1)),
        "bytes=" + ",".join(["0-"] * 1000),
        "bytes=" + "0" * 5000 + "-9",
    ],
)
def test_ranges__not_understood_or_abusive__are_the_whole(header: str | None) -> None:
    assert ranges_of(header, 1024) == Whole()


@pytest.mark.parametrize(
    "header",
    ["bytes=1024-", "bytes=1024-2000", "bytes=-0", "bytes=-000", "bytes=18446744073709551616-", "bytes=-0,4000-5000"],
)
def test_ranges__behind_the_end__are_unsatisfiable(header: str) -> None:
    assert ranges_of(header, 1024) == Unsatisfiable()


@pytest.mark.parametrize(
    ("header", "expected"), [("bytes=0-", Unsatisfiable()), ("bytes=-0", Unsatisfiable()), ("bytes=-1", Whole())]
)
def test_ranges__of_an_empty_file__are_none(header: str, expected: Whole | Unsatisfiable) -> None:
    assert ranges_of(header, 0) == expected


def test_ranges__as_many_as_the_limit__are_honoured() -> None:
    header = "bytes=" + ",".join(f"{n}-{n}" for n in range(RANGES_LIMIT))
    assert ranges_of(header, 1024) == parts(*((n, n) for n in range(RANGES_LIMIT)))


def test_content_range__names_first_and_last_byte_and_size() -> None:
    assert ByteRange(0, 10).content_range(1024) == "bytes 0-9/1024"
    assert ByteRange(1023, 1).content_range(1024) == "bytes 1023-1023/1024"
    assert unsatisfied(1024) == "bytes */1024"


@given(st.text("bytes=,- 0123456789", max_size=40) | st.text(max_size=20), st.integers(0, 50))
@example("bytes=0-0,2-2", 3)
def test_property__any_text__gives_ranges_within_the_file_that_do_not_overlap(header: str, size: int) -> None:
    found = ranges_of(header, size)
    if isinstance(found, tuple):
        sent = [at for part in found for at in range(size)[part.start : part.stop]]
        assert sent
        assert len(sent) == len(set(sent)) == sum(part.length for part in found)


SPECS = st.tuples(st.none() | st.integers(0, 70), st.none() | st.integers(0, 70)).filter(
    lambda spec: spec != (None, None)
)


@given(st.lists(SPECS, min_size=1, max_size=5), st.integers(1, 60))
def test_property__well_formed_ranges__are_those_of_a_simple_model(
    specs: list[tuple[int | None, int | None]], size: int
) -> None:
    header = "bytes=" + ",".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in specs)
    chosen = []
    for first, last in specs:
        if first is None:
            chosen.append([at for at in range(size) if at >= size - (last or 0)])
        else:
            chosen.append([at for at in range(size) if first <= at <= (size if last is None else last)])
    chosen = [some for some in chosen if some]
    once = {at for some in chosen for at in some}
    if any(a is not None and b is not None and b < a for a, b in specs) or len(once) != sum(map(len, chosen)):
        assert ranges_of(header, size) == Whole()
    elif not chosen:
        assert ranges_of(header, size) == Unsatisfiable()
    else:
        assert ranges_of(header, size) == parts(*((some[0], some[-1]) for some in chosen))


def _body(content: bytes, ranges: tuple[ByteRange, ...]) -> tuple[str, bytes, int]:
    layout = multipart(ranges, len(content), content_type="application/octet-stream", digest=DIGEST)
    pieces = [head + content[part.start : part.stop] for head, part in zip(layout.heads, ranges, strict=True)]
    return layout.content_type, b"".join(pieces) + layout.tail, layout.length


def test_multipart__of_two_ranges__is_laid_out_as_the_rfc_shows() -> None:
    content_type, body, _ = _body(bytes(range(65, 91)), parts((0, 2), (24, 25)))
    boundary = content_type.removeprefix("multipart/byteranges; boundary=")
    assert re.fullmatch(r"[A-Za-z0-9-]{1,70}", boundary)  # a token of RFC 2046: needs no quotes
    assert body.decode() == (
        f"--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 0-2/26\r\n\r\nABC\r\n"
        f"--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 24-25/26\r\n\r\nYZ\r\n"
        f"--{boundary}--\r\n"
    )


@given(st.lists(st.integers(0, 99), min_size=2, max_size=RANGES_LIMIT, unique=True))
def test_property__multipart__is_as_long_as_it_says_and_reads_back(firsts: list[int]) -> None:
    content = bytes(range(33, 133))
    ranges = parts(*((at, at) for at in firsts))
    content_type, body, length = _body(content, ranges)
    assert len(body) == length
    head = f"Content-Type: {content_type}\r\n\r\n".encode("ascii")
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    found = [(part["Content-Range"], part.get_payload(decode=True)) for part in message.iter_parts()]
    assert found == [(part.content_range(100), content[part.start : part.stop]) for part in ranges]


def test_multipart__asked_for_again__is_the_same() -> None:
    ranges = parts((0, 0), (5, 6))
    first = multipart(ranges, 10, content_type="text/plain", digest=DIGEST)
    other = multipart(ranges, 10, content_type="text/plain", digest=as_sha256("f" * 64))
    assert multipart(ranges, 10, content_type="text/plain", digest=DIGEST) == first
    assert other.content_type != first.content_type
