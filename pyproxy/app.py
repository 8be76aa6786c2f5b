"""The daemon: what starts, in which order, what is done with each request, and how it all ends."""

from __future__ import annotations

import pyproxy.quick_aiohttp  # noqa: F401  # before whatever imports aiohttp

# isort: split
import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from pyproxy.binding import CannotListen
from pyproxy.config import Config
from pyproxy.errors import PyproxyError
from pyproxy.fellows import Fellows
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.guard import answer_to, refusal
from pyproxy.handlers.routes import answer
from pyproxy.index.patience import patience
from pyproxy.lists_folder import sweep
from pyproxy.logs import access
from pyproxy.metrics import Metrics, Tally
from pyproxy.part import Spool
from pyproxy.reload import ConfigWatch
from pyproxy.repeats import Beginning, Ground
from pyproxy.site import CurrentSite, Machinery, Site, build, replaced
from pyproxy.storage.repository import open_local
from pyproxy.storage.store import open_store
from pyproxy.upkeep import Upkeep, shrink
from pyproxy.wire import Limits, Listener, Request

log = logging.getLogger(__name__)

DRAIN = 30.0
"""Seconds that what is in flight has to finish once the daemon is told to stop."""

DISK_THREADS = 8
WORK_THREADS = 2
"""More would only wait for each other: parsing and rendering hold the interpreter's lock."""

TURN = 0.0005
"""Seconds that the loop waits at most for the interpreter's lock while a thread holds it. With Python's own 5 ms a page
of 3,000 files, read in a thread, could stop the loop for as long at each call to the kernel."""


class Daemon:
    """One process that serves a configuration."""

    def __init__(
        self, config: Config, machinery: Machinery, limits: Limits, *, listening: socket.socket | None = None
    ) -> None:
        self.config = config
        self.machinery = machinery
        self.current = CurrentSite(build(config, machinery))
        self.ground = Ground(
            machinery.news, machinery.fellows.changes, machinery.repositories, machinery.store, machinery.tallies
        )
        shared = machinery.fellows.shared
        self.listener = Listener(
            self.handle,
            listening or config.server.listen.where,
            limits=limits,
            ahead=shared.shares.is_ahead if shared is not None else None,
            spool=Spool(machinery.store.tmp, machinery.disk),
        )
        machinery.metrics.open_connections.set_function(lambda: self.listener.open_connections)
        machinery.metrics.hot_path_bytes.set_function(lambda: self.listener.bytes_known)

    @property
    def url(self) -> str:
        """The index URL to put into a client, as the ready line prints it."""
        site = self.current.site
        path = "simple/" if site.default is not None else f"pypi/{next(iter(site.distributions))}/simple/"
        address = self.listener.address
        if isinstance(address, tuple):
            host, port = address
            return f"{site.public_url or f'http://{_as_host(host)}:{port}'}/{path}"
        return f"{site.public_url or 'http://localhost'}/{path} on unix:{address}"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request; counts and logs it however it ends, behind the answer where that is still to be sent."""
        site = self.current.site
        exchange = Exchange(request, site)
        loop = asyncio.get_running_loop()
        beginning = Beginning(self.ground, loop.time())
        status = 0
        site.users += 1
        try:
            response = await self._answered(exchange)
            status = response.status
            if isinstance(response, web.Response) and isinstance(response.body, bytes) and not exchange.is_head:
                exchange.sent = len(response.body)
            return response
        finally:
            site.users -= 1
            tell = partial(self._tell, exchange, beginning, status, loop.time() - beginning.started)
            if isinstance(request, Request):
                request.answered = tell
            else:
                tell()

    async def _answered(self, exchange: Exchange) -> web.StreamResponse:
        try:
            with patience():
                return await answer(exchange)
        except PyproxyError as exc:
            response, exchange.result = answer_to(exc)
            return response
        except ConnectionError:
            raise  # the client has gone: what it was being given counts, its hanging up is no error of ours
        except Exception:
            log.exception("unexpected trouble with %s %s", exchange.request.method, exchange.request.raw_path)
            exchange.result = "error"
            return refusal(500, "internal error")

    def _tell(self, exchange: Exchange, beginning: Beginning, status: int, seconds: float) -> None:
        """Of a request that was answered, or will never be."""
        tally, at = self._count(exchange, status, seconds)
        request = exchange.request
        if self.config.server.hot_path and isinstance(request, Request):
            request.standing = beginning.standing(exchange, status, tally, at)
            request.part = exchange.part

    def _count(self, exchange: Exchange, status: int, seconds: float) -> tuple[Tally, int]:
        name = exchange.distribution.name if exchange.distribution is not None else ""
        tally = self.machinery.metrics.tally(name, exchange.kind, exchange.result)
        tally.add(exchange.sent, seconds)
        at = self.machinery.tallies.count(exchange.kind, exchange.result)
        request = exchange.request
        access(
            request.remote or "-",
            request.method,
            request.raw_path,
            status=status,
            nbytes=exchange.sent,
            seconds=seconds,
            distribution=name or "-",
            kind=exchange.kind,
            result=exchange.result,
        )
        return tally, at

    # ------------------------------------------------------------------ reload

    async def apply(self, config: Config) -> None:
        """Swaps the site for that of another configuration. No request in flight notices."""
        await self.use(config, self.prepared(config))

    def prepared(self, config: Config) -> Site:
        """The site of another configuration, to be used or closed by `discard`."""
        return build(config, self.machinery, self.current.site)

    async def discard(self, site: Site) -> None:
        """Closes what was prepared and is not to be used."""
        for source in replaced(site, self.current.site):
            await source.close()
        # What follows the configuration follows the old one again.
        build(self.config, self.machinery, self.current.site)

    async def use(self, config: Config, new: Site) -> None:
        """Puts what was prepared in force."""
        old = self.current.site
        self.config = config
        self.current.site = new
        self.machinery.news.tell_all()
        self.machinery.retire(old, replaced(old, new))
        self.machinery.store.cache.limit = config.storage.max_cache_size
        await shrink(self.machinery.store)
        log.info("configuration %s is in force", config.source)


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's place beside others: the socket that they share, and what they know of each other."""

    listening: socket.socket
    fellows: Fellows
    first: bool
    """It does what one of them is enough for."""


@asynccontextmanager
async def running(config: Config, *, limits: Limits | None = None, place: Place | None = None) -> AsyncIterator[Daemon]:
    """A daemon that answers within the block. Raises StoreTrouble, and CannotListen.

    With a `place` it is one of several workers, beside a supervisor that holds the store and keeps it in order.
    """
    alone = place is None
    sys.setswitchinterval(TURN)
    async with AsyncExitStack() as stack:
        store = await asyncio.to_thread(
            open_store, config.storage.path, limit=config.storage.max_cache_size, exclusive=alone
        )
        stack.push_async_callback(asyncio.to_thread, store.close)
        repositories = await asyncio.to_thread(open_local, config.storage.path, exclusive=alone)
        stack.push_async_callback(asyncio.to_thread, repositories.close)
        if alone:
            await asyncio.to_thread(sweep, store.lists, config.remotes)
        work = stack.enter_context(ThreadPoolExecutor(WORK_THREADS, "work"))
        disk = stack.enter_context(ThreadPoolExecutor(DISK_THREADS, "disk"))
        fellows = place.fellows if place is not None else None
        machinery = Machinery(store, repositories, Metrics(), work=work, disk=disk, fellows=fellows)
        listening = place.listening if place is not None else None
        daemon = Daemon(config, machinery, limits or Limits(), listening=listening)

        async def close() -> None:
            await machinery.close(daemon.current.site)

        stack.push_async_callback(close)
        if alone:
            await stack.enter_async_context(Upkeep(store, repositories).going_on())
        if place is None or place.first:
            looking = asyncio.create_task(asyncio.to_thread(machinery.collisions.look))
            stack.push_async_callback(asyncio.wait, [looking])
        try:
            await daemon.listener.start()
        except OSError as exc:
            raise CannotListen(f"cannot listen on {config.server.listen}: {exc.strerror or exc}") from exc
        stack.push_async_callback(daemon.listener.drain, 0.0)
        yield daemon


def _as_host(address: str) -> str:
    """An address as a URL has it; a wildcard is reached through the loopback address."""
    if address in ("0.0.0.0", "::"):  # noqa: S104 -- compared, not bound
        return "127.0.0.1"
    return f"[{address}]" if ":" in address else address


async def serve(
    config: Config,
    *,
    load: Callable[[], Config],
    ready: Callable[[str], None],
    early: threading.Event | None = None,
) -> None:
    """Runs until SIGTERM or SIGINT. `load` reads the configuration anew; `ready` is told the index URL.

    `early`: set if that was asked for before (`reload.early`). Raises StoreTrouble, CannotListen.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    async with running(config) as daemon:
        watch = ConfigWatch(config, load, apply=daemon.apply, failed=daemon.machinery.metrics.reload_failures.inc)
        now = asyncio.Event()

        def stopping() -> None:
            # The second signal means it: what is in flight is cut.
            (now if stop.is_set() else stop).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping)
        loop.add_signal_handler(signal.SIGHUP, watch.poke)
        if early is not None and early.is_set():
            watch.poke()
        watching = asyncio.create_task(watch.run())
        watching.add_done_callback(_no_longer_watched)
        ready(daemon.url)
        try:
            deaf = await stopped(stop, daemon.listener)
            log.info("stopping: requests in flight have %g s to finish", DRAIN)
            await drained(daemon, now)
            if deaf:
                raise CannotListen(f"{config.server.listen} could not be listened on any longer")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def stopped(stop: asyncio.Event, listener: Listener) -> bool:
    """Returns when the daemon is to stop: whether because its listener accepts nobody any more."""
    waiting = [asyncio.create_task(event.wait()) for event in (stop, listener.deaf)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return listener.deaf.is_set()


def _no_longer_watched(watching: asyncio.Task[None]) -> None:
    if not watching.cancelled():
        log.error("the configuration is no longer watched; a restart helps", exc_info=watching.exception())


async def drained(daemon: Daemon, now: asyncio.Event) -> None:
    """Lets requests in flight finish, until `now` is set or their time is up."""
    draining = asyncio.create_task(daemon.listener.drain(DRAIN))
    hurried = asyncio.create_task(now.wait())
    await asyncio.wait((draining, hurried), return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not draining.done():
        await daemon.listener.drain(0.0)
    await asyncio.gather(draining, hurried, return_exceptions=True)
