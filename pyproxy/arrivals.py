"""The downloads under way, by what they fetch: whoever asks for one joins it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pyproxy.arrival import Arrival

log = logging.getLogger(__name__)


class Arrivals:
    """The downloads under way, by key: whoever asks for one joins it.

    With several workers each has its own; that one of them downloads for all is the arrivals' doing (`SharedArrival`).
    """

    def __init__(
        self, *, joined: Callable[[], None] = lambda: None, failed: Callable[[Arrival], None] = lambda _: None
    ) -> None:
        self._under_way: dict[str, tuple[Arrival, asyncio.Task[None]]] = {}
        # Those that nobody can join any more, while another of their key has begun.
        self._outgoing: dict[asyncio.Task[None], Arrival] = {}
        self._joined = joined
        self._failed = failed

    def __len__(self) -> int:
        return len(self._under_way) + len(self._outgoing)

    def join(self, key: str, make: Callable[[], Arrival]) -> Arrival:
        """The arrival under this key, begun now unless it is under way."""
        if (found := self._under_way.get(key)) is not None:
            arrival, task = found
            if arrival.joinable:
                if not arrival.verified:
                    self._joined()
                return arrival
            self._outgoing[task] = arrival
        arrival = make()
        task = asyncio.create_task(arrival.run(), name=f"arrival {arrival.name}")
        self._under_way[key] = (arrival, task)
        task.add_done_callback(lambda done: self._ended(key, arrival, done))
        return arrival

    def _all(self) -> list[tuple[Arrival, asyncio.Task[None]]]:
        return [*self._under_way.values(), *((arrival, task) for task, arrival in self._outgoing.items())]

    def _ended(self, key: str, arrival: Arrival, done: asyncio.Task[None]) -> None:
        if (found := self._under_way.get(key)) is not None and found[0] is arrival:
            del self._under_way[key]
        self._outgoing.pop(done, None)
        if done.cancelled():
            arrival.give_up()  # cancelled before its first step, it could not tell its readers
        if arrival.error is not None:
            log.warning("%s was not fetched: %s", arrival.name, arrival.error)
            self._failed(arrival)
        if not done.cancelled() and (exc := done.exception()) is not None:
            log.error("%s: unexpected trouble", arrival.name, exc_info=exc)

    async def close(self, grace: float = 0.0) -> None:
        """Lets the downloads finish for `grace` seconds, then gives them up. What is verified is stored in any case."""
        tasks = [task for _, task in self._all()]
        if tasks and grace > 0:
            await asyncio.wait(tasks, timeout=grace)
        for arrival, task in self._all():
            if not arrival.verified:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
