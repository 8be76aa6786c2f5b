"""Bytes as they come, and the pieces that aiohttp gets of them."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import http_parser
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.wire.intake import Intake, Reading
from pyproxy.wire.limits import Limits
from tests.wire.serving import get, post

LIMITS = Limits(max_body=1_000_000)


def parsed(head: bytes) -> RawRequestMessage:
    """What aiohttp makes of a head."""
    loop = asyncio.new_event_loop()
    parser = http_parser.HttpRequestParser(BaseProtocol(loop), loop, 2**16)
    messages, _, _ = parser.feed_data(head)
    loop.close()
    return messages[0][0]


def body_to_come() -> StreamReader:
    loop = asyncio.new_event_loop()
    loop.close()
    return StreamReader(BaseProtocol(loop), 2**16, loop=loop)


def drive(chunks: list[bytes]) -> list[bytes]:
    """The pieces, joined between heads, with each request answered as soon as it is whole."""
    intake, pieces = Intake(LIMITS), []
    for chunk in chunks:
        intake.take(chunk)
        while (piece := intake.piece(busy=False)) is not None:
            if intake.reading is Reading.BEGUN:
                message = parsed(piece)
                length = int(message.headers.get("Content-Length", "0"))
                intake.begin(message, body_to_come() if length else EMPTY_PAYLOAD)
                pieces.append(piece)
            else:
                pieces[-1] += piece
    assert intake.fault == 0
    return pieces


REQUESTS = [
    get("/a"),
    post(b"12345", path="/b"),
    get("/c", "X: y"),
    post(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", path="/d"),
    get("/e"),
]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_pieces__are_the_requests_however_they_were_cut(sizes: list[int]) -> None:
    stream, chunks = b"\r\n".join(REQUESTS), []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    chunks.append(stream)
    assert drive([chunk for chunk in chunks if chunk]) == REQUESTS


def test_head__while_busy__waits() -> None:
    intake = Intake(LIMITS)
    intake.take(get())
    assert intake.piece(busy=True) is None
    assert intake.waiting == len(get())
    assert intake.piece(busy=False) == get()


def test_head__until_aiohttp_has_said_what_follows__nothing_more_is_given() -> None:
    intake = Intake(LIMITS)
    intake.take(get("/a") + get("/b"))
    assert intake.piece(busy=False) == get("/a")
    assert intake.piece(busy=False) is None
    intake.begin(parsed(get("/a")), EMPTY_PAYLOAD)
    assert intake.piece(busy=False) == get("/b")


@pytest.mark.parametrize(
    ("raw", "last"),
    [
        (get(), False),
        (get("/", "Connection: close"), True),
        (get("/", "Connection: upgrade", "Upgrade: h2c"), True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
    ],
)
def test_request__that_is_the_last__makes_deaf(raw: bytes, last: bool) -> None:  # noqa: FBT001
    intake = Intake(LIMITS)
    intake.take(raw)
    intake.piece(busy=False)
    intake.begin(parsed(raw), EMPTY_PAYLOAD)
    assert (intake.last, intake.reading) == (last, Reading.DEAF if last else Reading.HEAD)
    intake.take(get())
    assert intake.waiting == (0 if last else len(get()))


@pytest.mark.parametrize(("length", "status"), [(1_000_000, 0), (1_000_001, 413)])
def test_body__bound__is_to_the_byte(length: int, status: int) -> None:
    intake = Intake(LIMITS)
    message = parsed(get("/", f"Content-Length: {length}", method="POST"))
    assert intake.begin(message, body_to_come()) == status


def test_bytes__behind_a_chunked_body__are_not_looked_at() -> None:
    intake = Intake(LIMITS)
    body = body_to_come()
    intake.begin(parsed(get("/", "Transfer-Encoding: chunked", method="POST")), body)
    intake.take(b"0\r\n\r\n" + get("/hidden"))
    assert intake.piece(busy=True) is not None
    body._eof = True  # as the parser's `feed_eof` does, which needs a live protocol
    assert intake.fault_of_body(parser_failed=True) == 0
    intake.take(get("/hidden"))
    assert intake.piece(busy=False) is None


def test_framework__has_what_the_intake_reads() -> None:
    assert {"method", "should_close", "upgrade", "chunked", "headers"} <= set(dir(parsed(get())))
