"""Answers known by heart: what a request got a moment ago, for whoever sends the same bytes again.

What an answer rests on is its handler's to say (`Standing`); nothing here knows a rule. Nothing is kept for longer
than it stands: a second or so.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Protocol

from pyproxy.part import Part, in_memory

CAPACITY = 32 * 1024 * 1024
"""Bytes of heads and bodies that are known by heart. A body counts once for each head that asks for it."""

LARGE = 64 * 1024
"""Bytes of a body from which on the kernel is given a file of it: to copy more each time takes longer than that."""

DESCRIPTOR = 1024 * 1024
"""Bytes that an open file counts for: there are not many to be had."""

_JOINED = 16 * 1024
"""Bytes of a body up to which it is kept behind its head: one piece goes faster to the kernel than two."""

_OVERHEAD = 1024
"""Bytes that an answer takes beside its own, about."""


class Standing(Protocol):
    """What an answer rests on, as the handler that gave it has it."""

    @property
    def until(self) -> float:
        """The loop's time from which on the answer might be another."""

    def holds(self) -> bool:
        """Whether the same request would get the same answer now. A microsecond at most."""

    def repeated(self, client: str, seconds: float, missing: int = 0) -> None:
        """Counts and logs one more request that was answered so, but for so many bytes that did not go out."""


@dataclass(slots=True)
class Answer:
    """A whole answer on a connection that stays open."""

    head: bytes
    body: bytes
    standing: Standing
    until: float
    part: Part | None = None
    """The body, where it lies in a file; a large one is put into one when it is first repeated."""
    is_large: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_large = self.part is not None or len(self.body) > LARGE

    @property
    def weight(self) -> int:
        if not self.is_large:
            return len(self.head) + len(self.body) + _OVERHEAD
        return len(self.head) + 2 * len(self.body) + DESCRIPTOR

    @classmethod
    def of(cls, head: bytes, body: bytes, standing: Standing) -> Answer:
        if len(body) <= _JOINED:
            return cls(head + body, b"", standing, standing.until)
        return cls(head, body, standing, standing.until)

    def in_file(self) -> Part | None:
        """The body as a part of a file; None where it is small, or no file is to be had."""
        if self.part is None and len(self.body) > LARGE:
            try:
                self.part = in_memory(self.body)
            except OSError:
                return None
        return self.part

    def write(self, fd: int) -> bytes | memoryview:
        """Writes to the socket, past its transport; returns what the kernel has not taken.

        A transport would join head and body: a copy of all bytes.
        """
        head, body = self.head, self.body
        try:
            count = os.writev(fd, (head, body)) if body else os.write(fd, head)
        except OSError:
            count = 0  # full, or broken: the transport finds out which
        if count == len(head) + len(body):
            return b""
        return memoryview(head + body)[count:]


class Memory:
    """The answers of one listener, by the bytes of the whole head that asks for them. Owned by the event loop."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self.answers: dict[bytes, Answer] = {}
        """To be read by connections; written here alone."""
        self.bytes = 0
        """What they take."""

    def put(self, asked: bytes, answer: Answer) -> None:
        """Keeps it, if there is room."""
        self.forget(asked)
        weight = len(asked) + answer.weight
        if self.bytes + weight > self._capacity:
            return
        self.answers[asked] = answer
        self.bytes += weight

    def forget(self, asked: bytes) -> None:
        """Lets go of one that does not stand any more, if it is here."""
        gone = self.answers.pop(asked, None)
        if gone is not None:
            self.bytes -= len(asked) + gone.weight

    def sweep(self, now: float) -> None:
        """Lets go of all whose time is over."""
        for asked in [asked for asked, answer in self.answers.items() if answer.until <= now]:
            self.forget(asked)

    def clear(self) -> None:
        """Lets go of all."""
        self.answers.clear()
        self.bytes = 0
