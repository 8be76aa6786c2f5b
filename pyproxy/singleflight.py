"""One call per key: whoever asks for what is already being fetched joins that flight.

A flight belongs to the `Flights` object, not to a request: a client that hangs up must not cancel the
work of the others. It is one process's; that of several workers one asks is the turns' doing (`fellows`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from pyproxy.deadlines import Deadlines
from pyproxy.errors import PyproxyError

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Call: TypeAlias = Callable[[], Coroutine[Any, Any, V]]  # Any: what a coroutine says to its loop


@dataclass(slots=True)
class _Flight(Generic[V]):
    """A call under way, since when by the loop's clock, and those who wait for it."""

    task: asyncio.Task[None]
    begun: float
    waiting: set[asyncio.Future[V]] = field(default_factory=set)


class Flights(Generic[K, V]):
    """The calls that are under way, by key. Owned by one event loop."""

    def __init__(self, *, joined: Callable[[], None] = lambda: None) -> None:
        self._flights: dict[K, _Flight[V]] = {}
        self._joined = joined
        self._patience: Deadlines[asyncio.Future[V]] = Deadlines(_out_of_patience)

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: K) -> bool:
        """Whether a flight for this key is under way."""
        return key in self._flights

    def age(self, key: K) -> float:
        """For how many seconds the flight has been under way; 0 where there is none."""
        flight = self._flights.get(key)
        return 0.0 if flight is None else asyncio.get_running_loop().time() - flight.begun

    def join(self, key: K, call: Call[V]) -> None:
        """Has `call` run for this key unless it is under way. Nobody waits."""
        self._flight(key, call)

    async def wait(self, key: K, call: Call[V], *, patience: float | None = None) -> V:
        """What the flight brings. Raises what it raises; TimeoutError after `patience` seconds, the flight going on."""
        flight = self._flight(key, call)
        # A future and a deadline: a fourth of the time of asyncio's `timeout` around a `shield`.
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[V] = loop.create_future()
        if patience is not None:
            self._patience.set(waiter, loop.time() + patience)
        flight.waiting.add(waiter)
        try:
            return await waiter
        finally:
            flight.waiting.discard(waiter)
            self._patience.drop(waiter)
            del waiter  # it has the error, which has this frame

    async def close(self) -> None:
        """Cancels what is still under way and waits for its end."""
        flights = list(self._flights.items())
        for _, flight in flights:
            flight.task.cancel()
        await asyncio.gather(*(flight.task for _, flight in flights), return_exceptions=True)
        for key, flight in flights:
            if self._flights.get(key) is flight:  # cancelled before its first step, it could not tell anybody
                self._land(key, lambda waiter: waiter.cancel())

    def _flight(self, key: K, call: Call[V]) -> _Flight[V]:
        flight = self._flights.get(key)
        if flight is not None:
            self._joined()
            return flight
        loop = asyncio.get_running_loop()
        flight = self._flights[key] = _Flight(loop.create_task(self._fly(key, call)), loop.time())
        return flight

    async def _fly(self, key: K, call: Call[V]) -> None:
        try:
            value = await call()
        except asyncio.CancelledError:
            self._land(key, lambda waiter: waiter.cancel())
            raise
        except Exception as exc:
            # Every waiter may have gone. What pyproxy raises on purpose is theirs to tell of; anything else is a bug.
            if not isinstance(exc, PyproxyError):
                log.exception("unexpected trouble with %s", key)
            error = exc
            self._land(key, lambda waiter: waiter.set_exception(error))
            del error  # it has this frame
        else:
            self._land(key, lambda waiter: waiter.set_result(value))

    def _land(self, key: K, tell: Callable[[asyncio.Future[V]], object]) -> None:
        """Tells all who wait at once: they go on in the next turn of the loop."""
        for waiter in self._flights.pop(key).waiting:
            if not waiter.done():
                tell(waiter)


def _out_of_patience(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
