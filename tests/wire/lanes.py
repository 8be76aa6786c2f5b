"""A fast lane whose goes a test counts, with members on socket pairs and no listener around them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pyproxy.part import Spool
from pyproxy.wire.fast_lane import FastLane
from pyproxy.wire.memory import Memory
from pyproxy.wire.repeater import Repeater
from pyproxy.wire.times import Times


class Wire(asyncio.Transport):
    """The transport of a socket, as far as the lane has to do with it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.reads = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


@dataclass
class Owner:
    """A connection that notes what it is told."""

    client: str = "192.0.2.7"
    times: Times = field(default_factory=lambda: Times(0.0))
    taken: list[bytes] = field(default_factory=list)
    delivered_all: int = 0
    was_cut: bool = False

    def take(self, data: bytes) -> None:
        self.taken.append(data)

    def delivered(self) -> None:
        self.delivered_all += 1

    def cut(self) -> None:
        self.was_cut = True


class Peer:
    """A client, its socket, and the lane's member that answers it."""

    def __init__(self) -> None:
        self.sock, self._served = socket.socketpair()
        self.sock.settimeout(0)
        self._served.settimeout(0)
        self.owner, self.wire = Owner(), Wire(self._served)
        self.member = Repeater(self.owner, self.wire)
        self.heard = 0

    def ask(self, asked: bytes) -> None:
        self.sock.send(asked)

    def hear(self) -> int:
        """How many bytes it was sent by now, in all."""
        with contextlib.suppress(BlockingIOError):
            while data := self.sock.recv(1 << 20):
                self.heard += len(data)
        return self.heard

    def close(self) -> None:
        self.member.close(asyncio.get_running_loop().time())
        self.sock.close()
        self._served.close()


class Lane(FastLane):
    """A lane whose goes are a test's to call."""

    def __init__(self) -> None:
        self.memory = Memory(Spool())
        super().__init__(self.memory, asyncio.get_running_loop())

    def go(self) -> None:
        self._serve()


@contextlib.contextmanager
def lane_of(count: int) -> Iterator[tuple[Lane, list[Peer]]]:
    """A lane, and so many members in it."""
    lane, peers = Lane(), [Peer() for _ in range(count)]
    try:
        for peer in peers:
            assert lane.enter(peer.member)
        yield lane, peers
    finally:
        lane.close()
        for peer in peers:
            peer.close()


def never(*_: Any) -> Any:  # Any: stands in for whatever is called
    """What goes wrong in a way that nobody thought of."""
    raise LookupError("never thought of")
