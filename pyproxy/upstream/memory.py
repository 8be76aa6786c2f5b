"""Which documents and origins failed lately, so that a remote in trouble is not hammered. Decides; sends nothing.

The first failure is an accident and is not remembered. From the second in a row on, whoever asks within a window gets
the same error at once; after the window one ask goes through as a probe. The window doubles until something succeeds.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from pyproxy.errors import RemoteFailed

FIRST_WINDOW = 0.5
LAST_WINDOW = 10.0
LONGEST_RETRY_AFTER = 60.0


@dataclass(slots=True)
class _Failure:
    count: int
    at: float
    until: float
    error: RemoteFailed
    probing: bool = False


class FailureMemory:
    """The failures of one remote, by key. `clock` gives seconds, `draw` numbers in [0, 1)."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        limit: int = 4096,
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._limit = limit
        self._failures: OrderedDict[Hashable, _Failure] = OrderedDict()  # the longest untouched first

    def __len__(self) -> int:
        return len(self._failures)

    def refusal(self, keys: Sequence[Hashable]) -> RemoteFailed | None:
        """The remembered error that forbids to ask now. None: go ahead, and tell the outcome of each key.

        After a window has passed, the first to ask is the probe: until its outcome is told, others are refused.
        """
        if not self._failures:
            return None
        now = self._clock()
        held = [failure for key in keys if (failure := self._failures.get(key)) is not None and failure.until]
        for failure in held:
            if now < failure.until or failure.probing:
                return _again(failure.error, max(failure.until - now, 0.0))
        for failure in held:
            failure.probing = True
        return None

    def failed(self, key: Hashable, error: RemoteFailed, *, began: float, wait: float | None = None) -> None:
        """The ask that began then failed. `wait`: for how many seconds the remote asks to be left alone."""
        now = self._clock()
        kept = _again(error, 0.0)  # what was raised has the frames that it came through, and in them what had come
        failure = self._failures.get(key)
        if failure is None:
            failure = self._failures[key] = _Failure(0, 0.0, 0.0, kept)
        elif began < failure.at:
            # Many asks in flight meet the same outage: that is one failure, not many in a row.
            return
        self._failures.move_to_end(key)
        failure.count += 1
        failure.at = now
        failure.error = kept
        failure.probing = False
        window = 0.0
        if failure.count > 1:
            # The exponent is bounded too: a remote may be down for weeks.
            window = min(LAST_WINDOW, FIRST_WINDOW * 2 ** min(failure.count - 2, 16)) * (0.75 + self._draw() / 4)
        if wait is not None:
            window = max(window, min(wait, LONGEST_RETRY_AFTER))
        failure.until = now + window if window else 0.0
        while len(self._failures) > self._limit:
            self._failures.popitem(last=False)

    def succeeded(self, key: Hashable) -> None:
        self._failures.pop(key, None)

    def left(self, key: Hashable) -> None:
        """The ask ended without an outcome: somebody else may probe."""
        if (failure := self._failures.get(key)) is not None:
            failure.probing = False

    def now(self) -> float:
        """When an ask begins, in the clock that `failed` compares with."""
        return self._clock()


def _again(error: RemoteFailed, wait: float) -> RemoteFailed:
    # A new object each time: raising one from many tasks would grow its traceback without end.
    return type(error)(error.remote, error.why, final=error.final, retry_after=wait)
