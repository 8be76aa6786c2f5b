"""What can go wrong with an answer of `RawUpstream`: each fault changes the reply that would have been sent.

Positions (`at`) are bytes where they are int, and a share of the body where they are float.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias


@dataclass(slots=True)
class Reply:
    """An answer as it will be put on the wire."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    framing: Literal["length", "chunked", "close"] = "length"
    length: int | None = None
    """What Content-Length claims, if not the truth."""
    last_chunk: bool = True
    cut: float | None = None
    """Where the body stops, though more was promised."""
    surplus: bytes = b""
    """What follows the body, though no more was promised."""
    ending: Literal["keep", "close", "reset", "hang"] = "keep"
    delay: float = 0.0
    """Seconds before the first byte."""
    step: int = 65536
    pause: float = 0.0
    """The body goes out in pieces of `step` bytes, with so many seconds between them."""
    gate: tuple[int, asyncio.Event] | None = None
    interims: int | None = 0
    """How many 1xx answers go ahead; None: without end."""
    endless: bool = False
    silent: bool = False
    raw: bytes | None = None
    """What is sent in place of all this."""


Fault: TypeAlias = Callable[[Reply], None]


def offset(at: float, size: int) -> int:
    return at if isinstance(at, int) else int(size * at)


@dataclass(frozen=True, slots=True)
class Status:
    """Another status, with a body that says little."""

    status: int
    body: bytes = b"scripted\n"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, reply: Reply) -> None:
        reply.status = self.status
        reply.headers = {"Content-Type": "text/plain", **self.headers}
        reply.body = b"" if self.status in {204, 304} else self.body


@dataclass(frozen=True, slots=True)
class Redirect:
    """`to` is sent as it is; None: without a Location."""

    to: str | None
    status: int = 302

    def __call__(self, reply: Reply) -> None:
        Status(self.status, headers={} if self.to is None else {"Location": self.to})(reply)


@dataclass(frozen=True, slots=True)
class Headers:
    """More headers, or others; one that is None is left out."""

    headers: Mapping[str, str | None]

    def __call__(self, reply: Reply) -> None:
        for name, value in self.headers.items():
            for known in [known for known in reply.headers if known.lower() == name.lower()]:
                del reply.headers[known]
            if value is not None:
                reply.headers[name] = value


@dataclass(frozen=True, slots=True)
class ManyHeaders:
    count: int = 500

    def __call__(self, reply: Reply) -> None:
        reply.headers.update({f"X-Filler-{number}": "x" for number in range(self.count)})


@dataclass(frozen=True, slots=True)
class Body:
    """Other bytes than those served."""

    body: bytes

    def __call__(self, reply: Reply) -> None:
        reply.body = self.body


@dataclass(frozen=True, slots=True)
class Flip:
    """One byte of the body is another."""

    at: float = 0.5

    def __call__(self, reply: Reply) -> None:
        here = offset(self.at, len(reply.body))
        reply.body = reply.body[:here] + bytes([reply.body[here] ^ 0xFF]) + reply.body[here + 1 :]


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds before the head."""

    seconds: float

    def __call__(self, reply: Reply) -> None:
        reply.delay = self.seconds


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer; or, with `at`, no more of the body from there on. The connection stays open until the client goes."""

    at: float | None = None

    def __call__(self, reply: Reply) -> None:
        reply.ending = "hang"
        if self.at is None:
            reply.silent = True
        else:
            reply.length = len(reply.body)
            reply.cut = self.at


@dataclass(frozen=True, slots=True)
class Gate:
    """The first bytes go out, the rest waits for the event."""

    event: asyncio.Event
    first: int = 65536

    def __call__(self, reply: Reply) -> None:
        reply.gate = (self.first, self.event)


@dataclass(frozen=True, slots=True)
class Drip:
    """The body in small pieces, with pauses."""

    step: int = 1
    pause: float = 0.05

    def __call__(self, reply: Reply) -> None:
        reply.step, reply.pause = self.step, self.pause


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset; `at` None: before the head."""

    at: float | None = None

    def __call__(self, reply: Reply) -> None:
        reply.ending = "reset"
        if self.at is None:
            reply.raw = b""
        else:
            reply.cut = self.at


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is closed early, in all politeness; `at` None: before the head."""

    at: float | None = 0.5

    def __call__(self, reply: Reply) -> None:
        reply.ending = "close"
        if self.at is None:
            reply.raw = b""
        else:
            reply.cut = self.at


@dataclass(frozen=True, slots=True)
class Lie:
    """Content-Length is off by so many bytes: more than there are (then the connection is closed), or fewer."""

    by: int

    def __call__(self, reply: Reply) -> None:
        reply.length = len(reply.body) + self.by
        if self.by > 0:
            reply.ending = "close"


@dataclass(frozen=True, slots=True)
class Chunked:
    """Chunks in place of Content-Length; without the last one, the connection is closed in its place."""

    last: bool = True
    step: int = 65536

    def __call__(self, reply: Reply) -> None:
        reply.framing, reply.last_chunk, reply.step = "chunked", self.last, self.step
        if not self.last:
            reply.ending = "close"


@dataclass(frozen=True, slots=True)
class UntilClose:
    """Neither Content-Length nor chunks: the body ends with the connection, whole or cut."""

    at: float = 1.0

    def __call__(self, reply: Reply) -> None:
        reply.framing, reply.ending = "close", "close"
        reply.cut = self.at


@dataclass(frozen=True, slots=True)
class Interims:
    """Answers of the 1xx kind before the head; `count` None: they never end."""

    count: int | None = None
    pause: float = 0.01

    def __call__(self, reply: Reply) -> None:
        reply.interims, reply.pause = self.count, self.pause


@dataclass(frozen=True, slots=True)
class Endless:
    """A body without end, in chunks."""

    pause: float = 0.0

    def __call__(self, reply: Reply) -> None:
        reply.framing, reply.endless, reply.pause = "chunked", True, self.pause
        reply.body = b"\n" * 65536


@dataclass(frozen=True, slots=True)
class Surplus:
    """More bytes after those that Content-Length promised."""

    data: bytes = b"surplus"

    def __call__(self, reply: Reply) -> None:
        reply.length = len(reply.body)
        reply.surplus = self.data


@dataclass(frozen=True, slots=True)
class Gzip:
    """Compressed, whether or not that was asked for; `at`: only so much of the stream, under a right Content-Length."""

    at: float = 1.0

    def __call__(self, reply: Reply) -> None:
        packed = gzip.compress(reply.body, 1, mtime=0)
        reply.body = packed[: offset(self.at, len(packed))]
        reply.headers["Content-Encoding"] = "gzip"


@dataclass(frozen=True, slots=True)
class Bomb:
    """A gzip body that opens to so many zero bytes."""

    size: int = 1 << 30

    def __post_init__(self) -> None:
        _bomb(self.size)  # takes a while: now, and not while somebody waits for the answer

    def __call__(self, reply: Reply) -> None:
        reply.body = _bomb(self.size)
        reply.headers["Content-Encoding"] = "gzip"


@functools.cache
def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    return b"".join([*(packer.compress(piece) for _ in range(size >> 20)), packer.flush()])


@dataclass(frozen=True, slots=True)
class Raw:
    """These bytes in place of an answer; then the connection is closed."""

    data: bytes

    def __call__(self, reply: Reply) -> None:
        reply.raw, reply.ending = self.data, "close"
