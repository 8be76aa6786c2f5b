"""Which answers may be given again unasked, what they rest on, and how their repetitions are counted and logged.

The handler says for how long and about which project (`Exchange.repeats`); the connection gives the same bytes again
(`wire.memory`). An answer stands for a clock second, and for a moment of the next while it is made anew: so its Date is
right, and whatever else may have changed meanwhile (a blob lost, a remote's 404 grown old) is met by the next request.
What must be seen at once is looked at each time: the configuration and the pages of this process (`News`), those of its
fellows, and what any process changes: local content, and which files are cached.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pyproxy.errors import StoreTrouble
from pyproxy.fellows import Changes
from pyproxy.handlers.exchange import Exchange
from pyproxy.logs import Access
from pyproxy.metrics import Tally
from pyproxy.news import News
from pyproxy.storage.repository import Repositories
from pyproxy.storage.store import Store
from pyproxy.storage.tallies import Tallies
from pyproxy.wire.memory import Repeat

RENEWAL = 0.1
"""Seconds into the next second in which an answer is still given, while one request has it made anew."""

REPEATABLE = frozenset({200, 206, 301, 304})


class Ground:
    """What an answer may rest on, and where it is counted for `pyproxy status`."""

    def __init__(
        self, news: News, fellows: Changes, repositories: Repositories, store: Store, tallies: Tallies
    ) -> None:
        self.news = news
        self.fellows = fellows
        self.store = store
        self.tallies = tallies
        self._local = _Stamp(repositories.stamp)
        self._cache = _Stamp(store.records.stamp)

    def stands(self, turn: int, local: int | None, cache: int | None) -> bool:
        """Whether local content and the cache's index are as they were at these stamps (None: do not matter)."""
        return (local is None or self._local.of(turn) == local) and (cache is None or self._cache.of(turn) == cache)


class _Stamp:
    """A stamp that is read once a turn; None where the store cannot tell."""

    __slots__ = ("_now", "_read", "_turn")

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._turn = 0
        self._now: int | None = None

    def of(self, turn: int) -> int | None:
        if turn != self._turn:
            self._turn = turn
            try:
                self._now = self._read()
            except StoreTrouble:
                self._now = None
        return self._now


class Beginning:
    """The moment before a request is looked at: what is read later cannot be older."""

    __slots__ = ("_fellows", "_ground", "_second_ends", "_total", "started")

    def __init__(self, ground: Ground, now: float) -> None:
        self._ground = ground
        self._total = ground.news.total
        self._fellows = ground.fellows.stamp
        self.started = now
        # On the loop's clock, as `now`: another Date is due then. A little less, as the clocks are read one by one.
        self._second_ends = now + 0.999 - time.time() % 1.0

    def standing(self, exchange: Exchange, status: int, tally: Tally, at: int) -> Standing | None:
        """What the answer to this exchange rests on; None where it may not be repeated. `at`: as `Tallies` gave it."""
        repeats = exchange.repeats
        if repeats is None or exchange.result != "hit" or status not in REPEATABLE:
            return None
        if self._ground.news.total != self._total:
            return None  # while it was made; of what it shows nobody can say
        return Standing(
            exchange,
            status,
            tally,
            self._ground,
            until=min(self._second_ends + RENEWAL, self.started + repeats.seconds),
            due=self._second_ends,
            project=repeats.project,
            fellows=self._fellows,
            at=at,
        )


class Standing:
    """What an answer rests on (`wire.memory.Standing`)."""

    __slots__ = (
        "_access",
        "_at",
        "_cache",
        "_cached",
        "_cells",
        "_fellows",
        "_ground",
        "_local",
        "_nbytes",
        "_seen",
        "_tally",
        "_where",
        "due",
        "until",
    )

    def __init__(
        self,
        exchange: Exchange,
        status: int,
        tally: Tally,
        ground: Ground,
        *,
        until: float,
        due: float,
        project: str,
        fellows: bytes,
        at: int,
    ) -> None:
        self.until = until
        self.due = due
        self._ground = ground
        self._cells, self._where = ground.news.about(project)
        self._seen = self._cells[self._where]
        self._fellows = fellows if ground.fellows.shared else None
        self._local = exchange.local_stamp
        self._cache = exchange.cache_stamp
        self._cached = exchange.cached
        self._tally = tally
        self._at = at
        self._nbytes = exchange.sent
        distribution, request = exchange.distribution, exchange.request
        self._access = Access(
            request.method,
            request.raw_path,
            status=status,
            nbytes=exchange.sent,
            distribution=distribution.name if distribution is not None else "-",
            kind=exchange.kind,
            result=exchange.result,
        )

    def holds(self, turn: int) -> bool:
        if self._cells[self._where] != self._seen:
            return False
        if self._fellows is not None and self._ground.fellows.stamp != self._fellows:
            return False
        return self._ground.stands(turn, self._local, self._cache)

    def repeated(self, repeats: Sequence[Repeat], missing: int = 0) -> None:
        count, missing = len(repeats), min(missing, self._nbytes)
        self._tally.add_all(repeats, self._nbytes * count - missing)
        self._ground.tallies.again(self._at, count)
        if self._cached is not None:
            self._ground.store.cache.touch(self._cached)
        self._access.tell(repeats, missing)
