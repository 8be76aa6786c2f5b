"""Fresh, stale or asked again: the one road that pages, documents and lists of a remote take.

What to do is decided by `freshness.decide`; this is the waiting around it. One flight asks the remote for a
thing, and everybody who wants it joins; each waits only as long as his own patience.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pyproxy.errors import NotCached, RemoteFailed
from pyproxy.freshness import Have, Rules, Verdict, decide, life_left
from pyproxy.index.patience import PATIENCE, time_left
from pyproxy.index.protocol import Served
from pyproxy.metrics import Result
from pyproxy.singleflight import Flights

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Why = Literal["slow", "failing", "offline"]


@dataclass(frozen=True, slots=True)
class Copy(Generic[V]):
    """What the cache holds, and when the remote last confirmed it (seconds since the epoch)."""

    value: V
    fetched_at: float


@dataclass(frozen=True, slots=True)
class Fetched(Generic[V]):
    """What a flight brought: new, or the old one confirmed."""

    copy: Copy[V]
    result: Result


Ask = Callable[[float], Coroutine[Any, Any, Fetched[V]]]  # Any: what a coroutine says to its loop
"""Asks the remote, ending before a deadline in the loop's time. Raises NotThere where the remote has none."""


class Keeper(Generic[K, V]):
    """Decides, asks and waits, for one kind of thing of one remote.

    `refresh_limit`: seconds that the remote has for a refresh behind a stale copy. Where there is no copy it has as
    many only for what `takes_long` by nature: whoever asks again then joins.
    """

    def __init__(
        self,
        remote: str,
        rules: Rules,
        *,
        stale_after: float,
        refresh_limit: float = PATIENCE,
        takes_long: bool = False,
        joined: Callable[[], None],
        stale: Callable[[Why], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._remote = remote
        self._rules = rules
        self._stale_after = stale_after
        self._refresh_limit = max(PATIENCE, refresh_limit)
        self._takes_long = takes_long
        self._clock = clock
        self._stale = stale
        self._flights: Flights[K, Fetched[V]] = Flights(joined=joined)

    async def get(self, key: K, what: str, copy: Copy[V] | None, ask: Ask[V], *, anew: bool = False) -> Served[V]:
        """The thing under `key`, called `what` in messages.

        `anew`: only what the remote says now will do, if it may be asked at all.
        Raises RemoteFailed, NotThere, NotCached.
        """
        age = self._age(copy)
        verdict = decide(self._rules, Have.NOTHING if copy is None else Have.COPY, age)
        if anew and not self._rules.offline:
            verdict = Verdict.ASK
        match verdict:
            case Verdict.FRESH if copy is not None:
                return Served(copy.value, "hit", life_left(self._rules, age))
            case Verdict.STALE if copy is not None:
                self._stale("offline")
                return Served(copy.value, "stale", 0.0)
            case Verdict.NOT_CACHED:
                raise NotCached(f"{what} is not cached, and remote {self._remote} is offline by configuration")
            case Verdict.ASK_BRIEFLY if copy is not None:
                return await self._ask_briefly(key, what, copy, ask)
            case _:
                return await self._ask(key, what, ask)

    def refresh_behind(self, key: K, what: str, copy: Copy[V], ask: Ask[V]) -> None:
        """Asks the remote anew where the copy is no longer fresh; nobody waits."""
        if key in self._flights:
            return
        if decide(self._rules, Have.COPY, self._age(copy)) in (Verdict.ASK, Verdict.ASK_BRIEFLY):
            self._flights.join(key, lambda: self._asked(what, ask, self._refresh_limit))

    @property
    def is_asking(self) -> bool:
        """Whether the remote is being asked for anything of this kind."""
        return len(self._flights) > 0

    async def close(self) -> None:
        await self._flights.close()

    async def _asked(self, what: str, ask: Ask[V], seconds: float) -> Fetched[V]:
        """One flight. Its failure is told here once: those who wait may be none, or hundreds."""
        try:
            return await ask(asyncio.get_running_loop().time() + seconds)
        except RemoteFailed as exc:
            log.info("%s was asked for in vain: %s", what, exc)
            raise

    async def _ask(self, key: K, what: str, ask: Ask[V]) -> Served[V]:
        limit = self._refresh_limit if self._takes_long else PATIENCE
        try:
            fetched = await self._flights.wait(key, lambda: self._asked(what, ask, limit), patience=time_left())
        except TimeoutError:
            raise RemoteFailed(self._remote, f"no answer within {PATIENCE:g} s") from None
        return self._served(fetched)

    async def _ask_briefly(self, key: K, what: str, copy: Copy[V], ask: Ask[V]) -> Served[V]:
        why: Why = "failing"
        # Who comes when a flight has been slow for long already need not find that out once more.
        patience = max(0.0, min(self._stale_after - self._flights.age(key), time_left()))
        try:
            fetched = await self._flights.wait(
                key, lambda: self._asked(what, ask, self._refresh_limit), patience=patience
            )
        except TimeoutError:
            why, reason = "slow", f"remote {self._remote}: no answer within {self._stale_after:g} s"
        except RemoteFailed as exc:
            if decide(self._rules, Have.COPY, self._age(copy), failed=True) is not Verdict.STALE:
                raise
            reason = str(exc)
        else:
            return self._served(fetched)
        self._stale(why)
        log.warning("%s is served stale, %.0f s old: %s", what, self._age(copy), reason)
        return Served(copy.value, "stale", 0.0)

    def _served(self, fetched: Fetched[V]) -> Served[V]:
        return Served(fetched.copy.value, fetched.result, life_left(self._rules, self._age(fetched.copy)))

    def _age(self, copy: Copy[V] | None) -> float:
        return self._clock() - copy.fetched_at if copy is not None else 0.0
