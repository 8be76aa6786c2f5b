"""Bytes of a file go to a socket as it takes them, and a fast client's gets more room in the kernel."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from pyproxy import pouring
from pyproxy.pouring import STEP, make_room, pour

SIZE = 32 << 20
BY_ITSELF = 4 << 20
"""Bytes of the largest buffer that the kernel makes without being asked (`net.ipv4.tcp_wmem`)."""


@dataclass(slots=True)
class Way:
    """A file, and a connection over which it may go."""

    file: int
    server: socket.socket
    client: socket.socket

    @property
    def buffer(self) -> int:
        return self.server.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    def take(self, count: int) -> None:
        left = count
        while left:
            left -= len(self.client.recv(min(left, 1 << 20)))


@pytest.fixture
def way() -> Iterator[Way]:
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        os.truncate(file.fileno(), SIZE)
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = stack.enter_context(socket.create_connection(listening.getsockname(), timeout=5))
        server = stack.enter_context(listening.accept()[0])
        server.settimeout(0)
        yield Way(file.fileno(), server, client)


def sent_fast(way: Way) -> list[int]:
    """Sends the file to a client that takes all at once; the bytes of each step."""
    steps: list[int] = []
    while (at := sum(steps)) < SIZE:
        steps.append(pour(way.server, way.file, at, SIZE - at, again=at > 0))
        way.take(steps[-1])
    return steps


def test_pour__gives_what_the_socket_takes_and_no_more_than_a_step(way: Way) -> None:
    steps = sent_fast(way)

    assert sum(steps) == SIZE
    assert max(steps) <= STEP


def test_pour__file_is_shorter_than_told__gives_nothing(way: Way) -> None:
    assert pour(way.server, way.file, SIZE, 1000, again=True) == 0


def test_pour__client_takes_nothing__its_buffer_is_left_to_the_kernel(way: Way) -> None:
    given = pour(way.server, way.file, 0, SIZE, again=False)

    with pytest.raises(BlockingIOError):
        pour(way.server, way.file, given, SIZE - given, again=True)
    assert way.buffer <= BY_ITSELF


@pytest.mark.skipif(pouring._widest() <= BY_ITSELF, reason="the kernel grants no more than it takes by itself")
def test_pour__client_is_fast__its_buffer_grows_and_stays_the_kernels(way: Way) -> None:
    sent_fast(way)
    make_room(way.server)  # the kernel may have taken it back meanwhile

    assert way.buffer == pouring._widest()
    assert not way.server.getsockopt(socket.SOL_SOCKET, pouring._BUF_LOCK)


@pytest.mark.skipif(pouring._widest() <= BY_ITSELF, reason="the kernel grants no more than it takes by itself")
def test_pour__buffer_was_widened__more_goes_at_once_than_the_kernel_takes_by_itself(way: Way) -> None:
    make_room(way.server)

    assert pour(way.server, way.file, 0, SIZE, again=True) > BY_ITSELF


def test_make_room__kernel_grants_less_than_there_is__nothing_is_asked(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = way.buffer
    monkeypatch.setattr(pouring, "_widest", lambda: before)

    make_room(way.server)

    assert way.buffer == before


def test_make_room__connection_is_gone__does_nothing(way: Way) -> None:
    way.server.close()

    make_room(way.server)


def test_widest__kernel_that_locks_what_it_is_told__is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pouring, "_BUF_LOCK", 9999)  # an option that no kernel knows

    assert pouring._widest.__wrapped__() == 0
