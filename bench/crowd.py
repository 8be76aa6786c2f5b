"""Many clients at once, each with one question: who gets what, and when."""

from __future__ import annotations

import hashlib
import selectors
import socket
import time
import urllib.parse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from bench.client import WrongAnswer

PATIENCE: Final = 120.0
_READ: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Got:
    """What one client got. Times are of `time.monotonic`; `nbytes` and `digest` are of the body."""

    status: int
    nbytes: int
    digest: str
    first: float
    last: float


@dataclass(slots=True)
class _Client:
    """One connection, and what came over it so far."""

    sock: socket.socket
    head: bytes = b""
    length: int | None = None
    """How long the body is; None until the head is there, or where only the end of the connection tells."""
    nbytes: int = -1
    first: float = 0.0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, data: memoryview) -> None:
        if self.nbytes < 0:
            self.head += data
            head, end, body = self.head.partition(b"\r\n\r\n")
            if not end:
                return
            self.head, self.nbytes = head, 0
            lines = head.decode("latin-1").lower().split("\r\n")
            self.length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), None)
            data = memoryview(body)
        if data:
            self.first = self.first or time.monotonic()
            self.nbytes += len(data)
            self.digest.update(data)

    @property
    def whole(self) -> bool:
        return self.length is not None and self.nbytes >= self.length

    def got(self) -> Got:
        if not self.head.startswith(b"HTTP/1."):
            raise WrongAnswer(f"no answer: {self.head[:80]!r}")
        return Got(int(self.head[9:12]), self.nbytes, self.digest.hexdigest(), self.first, time.monotonic())


def crowd(
    urls: Sequence[str], *, accept: str = "*/*", asked: Callable[[], None] | None = None
) -> tuple[float, list[Got]]:
    """When all had asked, and what each got. `asked` is called when all have. Raises WrongAnswer."""
    try:
        return _crowd(urls, accept, asked)
    except OSError as exc:
        raise WrongAnswer(f"a connection broke: {exc!r}") from exc


def _crowd(urls: Sequence[str], accept: str, asked: Callable[[], None] | None) -> tuple[float, list[Got]]:
    buffer = memoryview(bytearray(_READ))
    found: list[Got] = []
    ends = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for url in urls:
            sock = stack.enter_context(_asking(url, accept))
            selector.register(sock, selectors.EVENT_READ, _Client(sock))
        if asked is not None:
            asked()
        began = time.monotonic()
        while selector.get_map() and time.monotonic() < ends:
            for key, _ in selector.select(1.0):
                client: _Client = key.data
                got = client.sock.recv_into(buffer)
                client.take(buffer[:got])
                if not got or client.whole:
                    selector.unregister(client.sock)
                    client.sock.close()
                    found.append(client.got())
        if late := len(selector.get_map()):
            raise WrongAnswer(f"{late} of {len(urls)} clients had no answer after {PATIENCE:.0f} s")
    return began, found


def _asking(url: str, accept: str) -> socket.socket:
    parts = urllib.parse.urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port or 80), timeout=PATIENCE)
    fields = f"Host: {parts.netloc}\r\nAccept: {accept}\r\nAccept-Encoding: identity\r\nConnection: close\r\n"
    sock.sendall(f"GET {parts.path or '/'} HTTP/1.1\r\n{fields}\r\n".encode())
    return sock
