"""Answers known by heart: what a request got a moment ago, for whoever sends the same bytes again.

What an answer rests on is its handler's to say (`Standing`); nothing here knows a rule. Nothing is kept for longer
than it stands: a second or so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeAlias

from pyproxy.part import Descriptor, Part, Spool

CAPACITY = 32 * 1024 * 1024
"""Bytes of heads and bodies that are known by heart. A body counts once for each head that asks for it."""

LARGE = 32 * 1024
"""Bytes of a body from which on the kernel is given a file of it: to copy more each time takes longer than that."""

DESCRIPTOR = 128 * 1024
"""Bytes that an open file counts for: there are not many to be had."""

COPIED = 8 * 1024, 128 * 1024
"""Bytes of an answer, in memory or with a stored file, that is copied to a file of its own when it is asked for often.

Fewer are sent as fast from memory (of 16 kB a file takes half the time), and beside more a call saved is little.
"""

OFTEN = 64
"""Repetitions of an answer with a new head after which both are put into a new file, to be sent by one call."""

PER_REPETITION = 2048
"""Bytes of a file that are made in the time that one such call saves; so more is asked of larger ones."""

_OVERHEAD = 1024
"""Bytes that an answer takes beside its own, about."""

_AFTERLIFE = 1.0
"""Seconds that an answer is kept beyond its time."""


Repeat: TypeAlias = tuple[str, float]
"""One more request that got an answer: its client, and the seconds from its head to the answer's end."""


class Standing(Protocol):
    """What an answer rests on, as the handler that gave it has it."""

    @property
    def until(self) -> float:
        """The loop's time from which on the answer might be another."""

    @property
    def due(self) -> float:
        """The loop's time from which on it is to be made anew, though others may have it while it is: its Date ages."""

    def holds(self, turn: int) -> bool:
        """Whether the same request would get the same answer now. A microsecond at most.

        What other threads and processes may change is looked at once in a turn: its requests were all there before.
        """

    def repeated(self, repeats: Sequence[Repeat], missing: int = 0) -> None:
        """Counts and logs requests that were answered so, but for so many bytes that did not go out."""


@dataclass(slots=True)
class Answer:
    """A whole answer on a connection that stays open."""

    head: bytes
    """With the body behind it, if that is small: one piece goes faster to the kernel than two."""
    body: bytes
    """Of a large one, to be put into a file when it is first repeated, and given from here until it is there."""
    standing: Standing
    part: Part | None = None
    """The body, where it lies in a file."""
    whole: Descriptor | None = field(default=None, init=False)
    """A file of head and body, one behind the other: of this answer alone, as heads age."""
    until: float = field(init=False)
    due: float = field(init=False)
    size: int = field(init=False)
    """Bytes of head and body."""
    turn: int = field(default=0, init=False)
    """In which it was last seen to stand."""
    repeats: list[Repeat] = field(default_factory=list, init=False)
    """What it was given for in that turn and is still to be counted."""
    lay_after: int = field(init=False)
    """Repetitions after which it is to be put into a file."""
    copied: bool = field(default=False, init=False)
    """It has a file, or will have, beside the stored one or what is in memory."""

    def __post_init__(self) -> None:
        self.until = self.standing.until
        self.due = min(self.until, self.standing.due)
        self.size = len(self.head) + (len(self.body) if self.part is None else self.part.length)
        self.lay_after = self._lay_after()

    @classmethod
    def of(cls, head: bytes, body: bytes, standing: Standing) -> Answer:
        if len(body) <= LARGE:
            return cls(head + body, b"", standing)
        return cls(head, body, standing)

    def _lay_after(self) -> int:
        if self.body:
            return 0 if self.part is None else max(OFTEN, self.size // PER_REPETITION)
        least, most = COPIED
        return OFTEN if least <= self.size <= most else sys.maxsize

    @property
    def files(self) -> int:
        """Open files that it has, or will have."""
        return self.copied + bool(self.body or self.part is not None)

    @property
    def weight(self) -> int:
        """Bytes that it counts for: a large body is here twice, until its file is there and beside it."""
        return len(self.head) + 2 * len(self.body) + DESCRIPTOR * self.files + _OVERHEAD

    def put_into(self, head: bytes, whole: Part) -> None:
        """The body lies in a file from now on, behind this head."""
        if self.body:
            self.part = Part(whole.file, len(head), len(self.body))
        if head is self.head:
            self.whole = whole.file

    def renew(self, other: Answer) -> None:
        """Becomes the other, which has the same body and so needs no file of its own."""
        self.head, self.standing, self.whole = other.head, other.standing, None
        self.until, self.due, self.size, self.turn = other.until, other.due, other.size, 0
        self.lay_after, self.copied = self._lay_after(), False  # what there was no room for is tried again


class Memory:
    """The answers of one listener, by the bytes of the whole head that asks for them. Owned by the event loop."""

    def __init__(self, spool: Spool, capacity: int = CAPACITY, *, files: int = CAPACITY // DESCRIPTOR) -> None:
        """Keeps so many bytes, and so many files open, at most."""
        self._spool = spool
        self._capacity = capacity
        self._most_files = files
        self.answers: dict[bytes, Answer] = {}
        """To be read by connections; written here alone."""
        self.bytes = 0
        """What they take."""
        self.files = 0
        """Files that they hold open, or will."""
        self._turn = 0

    def begin_turn(self) -> int:
        """To be called when requests have come and before they are answered; the number of their turn."""
        self._turn += 1
        return self._turn

    def stands(self, asked: bytes, answer: Answer, now: float) -> bool:
        """Whether an answer that is here may be given in this turn."""
        if now >= answer.due:
            if now >= answer.until:
                return False
            answer.due = answer.until  # for who asks now it is made anew
            return False
        if not answer.standing.holds(self._turn):
            self.forget(asked)
            return False
        if answer.lay_after <= 0:
            self._lay(answer)
        answer.turn = self._turn
        return True

    def _lay(self, answer: Answer) -> None:
        """Has it put into a file, if there is room for one."""
        answer.lay_after = sys.maxsize
        if not answer.body:
            if self.files >= self._most_files or self.bytes + DESCRIPTOR > self._capacity:
                return
            answer.copied = True
            self.files += 1
            self.bytes += DESCRIPTOR
        body: bytes | Part = answer.body or answer.part or b""  # nothing: it is behind its head already
        self._spool.lay((answer.head, body), partial(answer.put_into, answer.head))

    def put(self, asked: bytes, answer: Answer) -> None:
        """Keeps it, if there is room."""
        before = self.forget(asked)
        if before is not None and answer.body and before.body == answer.body:
            before.renew(answer)
            answer = before
        weight = len(asked) + answer.weight
        if self.bytes + weight > self._capacity or self.files + answer.files > self._most_files:
            return
        self.answers[asked] = answer
        self.bytes += weight
        self.files += answer.files

    def outdate(self, asked: bytes) -> None:
        """Does not give this answer again, if it is here. Its file is kept for the one that comes."""
        if (answer := self.answers.get(asked)) is not None:
            answer.until = answer.due = 0.0

    def forget(self, asked: bytes) -> Answer | None:
        """Lets go of an answer, and gives it back, if it is here."""
        gone = self.answers.pop(asked, None)
        if gone is not None:
            self.bytes -= len(asked) + gone.weight
            self.files -= gone.files
        return gone

    def sweep(self, now: float) -> None:
        """Lets go of all whose time has been over for a while: until then the next like it may need their file."""
        for asked in [asked for asked, one in self.answers.items() if one.standing.until + _AFTERLIFE <= now]:
            self.forget(asked)

    def clear(self) -> None:
        """Lets go of all."""
        self.answers.clear()
        self.bytes = self.files = 0
