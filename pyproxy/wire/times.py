"""Since when a connection waits, and when that has been too long. Numbers in, a decision out."""

from __future__ import annotations

from enum import Enum, auto

from pyproxy.wire.intake import Intake
from pyproxy.wire.limits import Limits


class Act(Enum):
    """What to do about a connection."""

    WAIT = auto()
    REFUSE = auto()  # a head does not come to its end: 408
    BREAK_OFF = auto()  # a body does not: 408, if nothing of an answer is out
    CLOSE = auto()  # nothing was asked, or nothing more
    ABORT = auto()  # it was told to go, and does not


class Times:
    """The marks of one connection on the loop's clock, in seconds."""

    __slots__ = ("_taken", "_taken_at", "heard", "served", "since")

    def __init__(self, now: float) -> None:
        self.heard = now
        """The last bytes came, or became welcome again."""
        self.since = now
        """The first byte of a head came; before that, the last answer went or the client connected."""
        self.served = False
        """It has had an answer."""
        self._taken: int | None = None  # how far the client had come with its answer, at `_taken_at`
        self._taken_at = 0.0

    def stalls(self, now: float, taken: int | None, limit: float) -> bool:
        """Whether the client has not taken a byte for `limit` seconds; `taken` None: there are none for it."""
        if taken is None or taken != self._taken:
            self._taken, self._taken_at = taken, now
            return False
        return now - self._taken_at > limit

    def due(self, now: float, limits: Limits, intake: Intake, *, busy: bool, awaited: bool) -> Act:
        """What is due. `busy`: a request is being answered; `awaited`: the client is to send more of its body."""
        if busy or intake.begun:
            return Act.BREAK_OFF if awaited and now - self.heard > limits.body_idle else Act.WAIT
        waited = now - self.since
        if intake.owes_body:
            return Act.WAIT  # the rest of a body is thrown away, for `linger` seconds
        if intake.deaf:
            return Act.ABORT if waited > limits.linger else Act.WAIT
        if intake.waiting:
            return Act.REFUSE if waited > limits.header_timeout else Act.WAIT
        return Act.CLOSE if waited > (limits.keep_alive if self.served else limits.header_timeout) else Act.WAIT
