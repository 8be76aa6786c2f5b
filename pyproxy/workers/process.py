"""One worker: the daemon of `app` at its place beside others, doing what its supervisor says.

    python -P -m pyproxy.workers CHANNEL SUPERVISOR

CHANNEL is an inherited descriptor, SUPERVISOR the pid of who started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Final

from pyproxy import garbage
from pyproxy.app import Daemon, Place, drained, running, stopped
from pyproxy.errors import PyproxyError, StoreTrouble
from pyproxy.fellows import Board, fellows
from pyproxy.logs import setup, shutdown
from pyproxy.site import Site
from pyproxy.storage.store import Layout
from pyproxy.workers import messages
from pyproxy.workers.messages import Channel, Message

log = logging.getLogger(__name__)

BEAT: Final = 1.0
"""Seconds between two signs that the loop turns."""

COUNTED: Final = 1.0
"""Seconds between two reports of what was counted: so much may be missing of a worker that is killed."""

COST: Final = 100
"""Reports come less often where they take long: they may take one part in so many of the time."""

GATHER_LIMIT: Final = 5.0
"""Seconds that the supervisor has to tell what the others have counted."""

_PR_SET_PDEATHSIG: Final = 1


class Worker:
    """What this process does beside answering requests."""

    def __init__(self, daemon: Daemon, channel: Channel, place: Place) -> None:
        self.stop = asyncio.Event()
        self.now = asyncio.Event()
        self._daemon = daemon
        self._channel = channel
        self._place = place
        self._prepared: tuple[messages.Prepare, Site] | None = None
        self._gathering: dict[int, asyncio.Future[Sequence[bytes]]] = {}
        self._number = 0
        daemon.machinery.gather = self.gather
        daemon.machinery.login_failed = self._tell_failure

    async def gather(self, counts: bytes) -> Sequence[bytes]:
        """This worker's counts, and those of all others."""
        self._number += 1
        number = self._number
        answer: asyncio.Future[Sequence[bytes]] = asyncio.get_running_loop().create_future()
        self._gathering[number] = answer
        self._channel.send(messages.Gather(number, counts))
        try:
            async with asyncio.timeout(GATHER_LIMIT):
                return await answer
        except TimeoutError:
            raise StoreTrouble("the supervisor does not tell what the other workers have counted") from None
        finally:
            del self._gathering[number]

    async def listen(self) -> None:
        """Does what it is told, until the supervisor has gone."""
        try:
            while (message := await self._channel.receive()) is not None:
                await self._heed(message)
            self.now.set()
        finally:
            self.stop.set()  # whatever has made it deaf: nobody could stop it any more

    async def _heed(self, message: Message) -> None:
        match message:
            case messages.Prepare():
                self._channel.send(messages.Prepared(await self._prepare(message)))
            case messages.Commit() if self._prepared is not None:
                (prepared, site), self._prepared = self._prepared, None
                await self._daemon.use(prepared.config, site)
            case messages.Abort() if self._prepared is not None:
                (_, site), self._prepared = self._prepared, None
                await self._daemon.discard(site)
            case messages.Stop():
                if message.now:
                    self.now.set()
                self.stop.set()
            case messages.Count():
                self._channel.send(messages.Counted(await self._daemon.machinery.counts()))
            case messages.LoginFailed():
                self._daemon.current.site.heard_of_failure(message.guard, message.network, message.user)
            case messages.Gathered():
                answer = self._gathering.get(message.number)
                if answer is not None and not answer.done():
                    answer.set_result(message.counted)
            case _:
                log.error("the supervisor said what nobody understands: %s", type(message).__name__)

    def _tell_failure(self, guard: str, network: str, user: bytes) -> None:
        self._channel.send(messages.LoginFailed(guard, network, user))

    async def _prepare(self, message: messages.Prepare) -> str | None:
        try:
            site = self._daemon.prepared(message.config)
        except PyproxyError as exc:
            return str(exc)
        except Exception as exc:
            log.exception("the new configuration could not be prepared")
            return f"it could not be prepared ({type(exc).__name__})"
        self._prepared = message, site
        return None

    async def beat(self) -> None:
        """Shows that the loop turns."""
        shared = self._place.fellows.shared
        while shared is not None:
            shared.shares.beat()
            await asyncio.sleep(BEAT)

    async def report(self) -> None:
        """Tells again and again what was counted, so that it is not lost with this process."""
        loop = asyncio.get_running_loop()
        before = b""
        while True:
            began = loop.time()
            counts = await self._daemon.machinery.counts()
            if counts != before:
                self._channel.send(messages.Counted(counts))
                before = counts
            await asyncio.sleep(max(COUNTED, COST * (loop.time() - began)))


async def work(channel_fd: int) -> int:
    """Serves until it is told to stop; the exit code."""
    channel = await Channel.over(socket.socket(fileno=channel_fd))
    try:
        hello = await channel.receive()
        if not isinstance(hello, messages.Hello):
            return 1
        setup(hello.log_format, hello.log_level, shared=True)
        try:
            return await _serve(hello, channel)
        except PyproxyError as exc:
            channel.send(messages.Failed(str(exc)))
            return 1
    finally:
        await channel.close()
        shutdown()


async def _serve(hello: messages.Hello, channel: Channel) -> int:
    board = Board(hello.board, hello.count)
    known = fellows(board, hello.index, Layout(hello.config.storage.path).turns, hello.key)
    for fd in (hello.listener, hello.board):
        os.set_inheritable(fd, False)  # noqa: FBT003 - its only form
    place = Place(socket.socket(fileno=hello.listener), known, first=hello.index == 0)
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        if known.shared is not None:
            stack.callback(known.shared.turns.close)
        daemon = await stack.enter_async_context(running(hello.config, place=place))
        worker = Worker(daemon, channel, place)
        # The one who tells to stop is the supervisor; a signal sent to all processes together is none more.
        loop.add_signal_handler(signal.SIGTERM, worker.stop.set)
        tasks = [asyncio.create_task(task) for task in (worker.listen(), worker.beat(), worker.report())]
        stack.push_async_callback(_ended, tasks)
        garbage.collect()
        channel.send(messages.Ready(daemon.url))
        deaf = await stopped(worker.stop, daemon.listener)
        await drained(daemon, worker.now)
        channel.send(messages.Counted(await daemon.machinery.counts()))
    channel.send(messages.Bye(untidy=daemon.machinery.store.cache.stock.untidy))
    return 1 if deaf else 0


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("unexpected trouble in a worker", exc_info=result)


def main(arguments: Sequence[str]) -> int:
    """The process."""
    channel, supervisor = map(int, arguments)
    if sys.platform == "linux":
        # However busy this process is, it does not outlive its supervisor: another daemon may then take the store.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        return 1
    # What a terminal sends to all its processes is for the supervisor to act upon.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return asyncio.run(work(channel))
