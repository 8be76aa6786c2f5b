"""One call per key: whoever asks for what is already being fetched joins that flight.

A flight belongs to the `Flights` object, not to a request: a client that hangs up must not cancel the
work of the others. It is one process's; that of several workers one asks is the turns' doing (`fellows`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from pyproxy.errors import PyproxyError

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """The calls that are under way, by key. Owned by one event loop."""

    def __init__(self, *, joined: Callable[[], None] = lambda: None) -> None:
        self._tasks: dict[K, asyncio.Task[V]] = {}
        self._begun: dict[K, float] = {}  # by the loop's clock, as long as the task is there
        self._joined = joined

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, key: K) -> bool:
        """Whether a flight for this key is under way."""
        return key in self._tasks

    def age(self, key: K) -> float:
        """For how many seconds the flight has been under way; 0 where there is none."""
        begun = self._begun.get(key)
        return 0.0 if begun is None else asyncio.get_running_loop().time() - begun

    def join(self, key: K, call: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        """The task that runs `call` for this key, begun now unless one is under way.

        Await it through `asyncio.shield`, or with `wait`: the task is everybody's.
        """
        task = self._tasks.get(key)
        if task is not None:
            self._joined()
            return task
        task = asyncio.ensure_future(_run(call))
        self._tasks[key] = task
        self._begun[key] = task.get_loop().time()
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    async def wait(self, key: K, call: Callable[[], Awaitable[V]], *, patience: float | None = None) -> V:
        """What the flight brings. Raises what it raises; TimeoutError after `patience` seconds, the flight going on."""
        async with asyncio.timeout(patience):
            return await asyncio.shield(self.join(key, call))

    async def close(self) -> None:
        """Cancels what is still under way and waits for its end."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _landed(self, key: K, done: asyncio.Task[V]) -> None:
        if self._tasks.get(key) is done:
            del self._tasks[key]
            del self._begun[key]
        if done.cancelled() or (exc := done.exception()) is None:
            return
        # Every waiter may have gone. What pyproxy raises on purpose is theirs to tell of; anything else is a bug.
        if not isinstance(exc, PyproxyError):
            log.error("unexpected trouble with %s", key, exc_info=exc)


async def _run(call: Callable[[], Awaitable[V]]) -> V:
    return await call()
