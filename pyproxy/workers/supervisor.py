"""The supervisor: binds the socket, holds the store, starts the workers and keeps them at it. Answers no request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final

from pyproxy.config import Config
from pyproxy.counted import Counts, Family, pack, remains, united, unpack
from pyproxy.errors import PyproxyError
from pyproxy.fellows import KEY_BYTES, Board, Column
from pyproxy.logs import Format, Level
from pyproxy.reload import ConfigWatch
from pyproxy.upkeep import shrink
from pyproxy.workers import messages
from pyproxy.workers.child import Child
from pyproxy.workers.held import bound, holding
from pyproxy.workers.messages import Message

log = logging.getLogger(__name__)

STOP_LIMIT: Final = 45.0
"""Seconds that workers have to end: those they give to requests in flight, and some more."""

HUNG: Final = 30.0
"""Seconds without a beat after which a worker is taken for hung, and killed."""

STARTS: Final = 5
"""So many ends of one worker in a row before it was ready, and the daemon gives up."""

QUICK: Final = 10.0
"""Seconds: a worker that lived longer is replaced at once, one that did not after a while that grows."""

FIRST_PAUSE: Final = 0.1
LAST_PAUSE: Final = 3.0

PREPARE_LIMIT: Final = 20.0
COUNT_LIMIT: Final = 1.0


class CannotStart(PyproxyError):
    """A worker ends again and again before it is ready."""


@dataclass(slots=True)
class _Post:
    """The place of one worker, whoever has it."""

    index: int
    child: Child | None = None
    failures: int = 0
    """Ends before being ready, in a row."""
    quick: int = 0
    """Ends soon after being ready, in a row."""


class Supervisor:
    """All that happens between the start and the end. `ready` is told the index URL, once."""

    def __init__(
        self,
        config: Config,
        *,
        load: Callable[[], Config],
        ready: Callable[[str], None],
        log_format: Format,
        log_level: Level,
    ) -> None:
        self._config = config  # what is in force; written by `_apply` alone
        self._load = load
        self._ready = ready
        self._log = (log_format, log_level)
        self._posts = [_Post(index) for index in range(config.server.workers)]
        self._dead = Counts([])
        self._key = os.urandom(KEY_BYTES)
        self._reload_failures = 0
        self._stop = asyncio.Event()
        self._now = asyncio.Event()
        self._applying = asyncio.Lock()  # a worker that becomes ready, and a reload, each tell of one configuration
        self._helping: set[asyncio.Task[None]] = set()

    async def run(self, early: threading.Event | None = None) -> None:
        """Raises StoreTrouble, CannotListen, CannotStart."""
        async with contextlib.AsyncExitStack() as stack:
            store, upkeep = await stack.enter_async_context(holding(self._config))
            board = Board.create(len(self._posts))
            stack.callback(board.close)
            listening, file = await bound(self._config)
            stack.callback(listening.close)
            if file is not None:
                stack.callback(file.unlink)
            self._store, self._upkeep, self._board, self._listening = store, upkeep, board, listening
            watch = ConfigWatch(self._config, self._load, apply=self._apply, failed=self._refused)
            self._heed_signals(watch)
            if early is not None and early.is_set():
                watch.poke()
            await self._work(watch)
        log.info("stopped")

    async def _work(self, watch: ConfigWatch) -> None:
        keeping = [asyncio.create_task(self._keep(post)) for post in self._posts]
        self._help(self._announce(watch))
        self._help(self._see_them_turn())
        stopping = asyncio.create_task(_set(self._stop))
        try:
            done, _ = await asyncio.wait([stopping, *keeping], return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping: requests in flight have some time to finish")
            await self._end(keeping)
            for task in done:
                task.result()
        finally:
            tasks = [stopping, *keeping, *self._helping]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _heed_signals(self, watch: ConfigWatch) -> None:
        loop = asyncio.get_running_loop()

        def stopping() -> None:
            # The second signal means it: what is in flight is cut.
            (self._now if self._stop.is_set() else self._stop).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping)
        loop.add_signal_handler(signal.SIGHUP, watch.poke)

    async def _announce(self, watch: ConfigWatch) -> None:
        """Says that the daemon is ready once all workers are; then watches the configuration."""
        while not all(post.child is not None and post.child.is_ready for post in self._posts):
            children = [post.child for post in self._posts if post.child is not None]
            await asyncio.gather(*(child.settled.wait() for child in children))
            await asyncio.sleep(0.01)
        child = self._posts[0].child
        self._ready(child.url if child is not None and child.url is not None else "")
        await watch.run()

    # ------------------------------------------------------------------ keeping workers at it

    async def _keep(self, post: _Post) -> None:
        """Starts the worker of this post, again whenever it ends. Raises CannotStart."""
        while not self._stop.is_set():
            child = post.child = Child(self._hello(post.index), heard=self._hear)
            try:
                code = await child.run()
            except OSError as exc:
                code, child.why = 1, f"it cannot be started: {exc.strerror}"
            self._bury(post, child)
            if not self._stop.is_set():
                await self._rest(self._pause(post, child, code))

    def _hello(self, index: int) -> messages.Hello:
        log_format, log_level = self._log
        return messages.Hello(
            config=self._config,
            index=index,
            count=len(self._posts),
            listener=self._listening.fileno(),
            board=self._board.fd,
            key=self._key,
            log_format=log_format,
            log_level=log_level,
        )

    def _bury(self, post: _Post, child: Child) -> None:
        """Keeps what a dead worker has counted, and has others find what it left half done."""
        for column in (Column.RESERVED, Column.SETTLING, Column.BEAT, Column.CONNECTIONS):
            self._board.put(column, post.index, 0)
        child.buried = True
        if child.counts is not None:
            self._dead = united([self._dead, remains(unpack(child.counts))], {})
        if not child.tidy:
            self._store.cache.stock.untidy = True  # until they are compared
            self._upkeep.disturb()

    def _pause(self, post: _Post, child: Child, code: int) -> float:
        """Seconds until the successor is started. Raises CannotStart."""
        was_ready = child.url is not None
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        log.warning(
            "worker %d (pid %d) has ended, %s%s", post.index, child.pid, how, f": {child.why}" if child.why else ""
        )
        if was_ready:
            post.failures = 0
            post.quick = post.quick + 1 if time.monotonic() - child.began < QUICK else 0
            return min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** (post.quick - 2)) if post.quick > 1 else 0.0
        post.failures += 1
        if post.failures >= STARTS:
            raise CannotStart(
                f"worker {post.index} ended {post.failures} times in a row before it was ready: {child.why or how}"
            )
        return FIRST_PAUSE * 2.0**post.failures

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    async def _see_them_turn(self) -> None:
        """Kills workers whose loop turns no more: their clients are lost anyhow."""
        while True:
            await asyncio.sleep(1.0)
            for post in self._posts:
                beat = self._board.get(Column.BEAT, post.index)
                child = post.child
                if child is not None and child.is_ready and beat and time.monotonic_ns() - beat > HUNG * 1e9:
                    log.error("worker %d (pid %d) has not moved for %g s: it is killed", post.index, child.pid, HUNG)
                    child.kill()

    async def _end(self, keeping: list[asyncio.Task[None]]) -> None:
        """Lets the workers finish; has them cut what is in flight once `now` is set, or their time is up."""
        self._stop.set()
        self._listening.close()
        self._tell(messages.Stop())
        hurried = asyncio.create_task(_set(self._now))
        ended = asyncio.create_task(_over(keeping))
        try:
            await asyncio.wait([ended, hurried], timeout=STOP_LIMIT, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                self._tell(messages.Stop(now=True))
                await asyncio.wait([ended], timeout=STOP_LIMIT)
        finally:
            for task in (hurried, ended):
                task.cancel()
            await asyncio.gather(hurried, ended, return_exceptions=True)

    def _tell(self, message: messages.ToWorker) -> None:
        for post in self._posts:
            if post.child is not None:
                post.child.send(message)

    # ------------------------------------------------------------------ what workers say

    def _hear(self, child: Child, message: Message) -> None:
        match message:
            case messages.Ready():
                log.info("worker %d (pid %d) is ready", child.index, child.pid)
                if child.config is not self._config:
                    self._help(self._catch_up(child))
            case messages.LoginFailed():
                for post in self._posts:
                    if post.child is not None and post.child is not child:
                        post.child.send(message)
            case messages.Gather():
                self._help(self._gather(child, message.number))

    def _help(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._helping.add(task)
        task.add_done_callback(self._helped)

    def _helped(self, task: asyncio.Task[None]) -> None:
        self._helping.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("unexpected trouble in the supervisor; a restart helps", exc_info=exc)

    async def _gather(self, asking: Child, number: int) -> None:
        """Tells a worker what all the others have counted."""
        others = [post.child for post in self._posts if post.child is not None and post.child is not asking]
        await asyncio.gather(*(child.count(COUNT_LIMIT) for child in others if child.is_ready))
        # Of one that was buried meanwhile, what it counted is with that of the dead.
        counted = [child.counts for child in others if not child.buried and child.counts is not None]
        counted += [pack(self._dead), pack(Counts([self._failures()]))]
        asking.send(messages.Gathered(number, tuple(counted)))

    def _failures(self) -> Family:
        """The one counter that is the supervisor's."""
        name = "pyproxy_config_reload_failures"
        return Family(name, "counter", "", [(f"{name}_total", (), self._reload_failures)])

    # ------------------------------------------------------------------ reload

    def _refused(self) -> None:
        self._reload_failures += 1

    async def _apply(self, config: Config) -> None:
        """All workers prepare it; only then all put it in force. Raises PyproxyError where one of them cannot."""
        async with self._applying:
            children = [post.child for post in self._posts if post.child is not None and post.child.is_ready]
            answers = await asyncio.gather(*(child.prepare(config, PREPARE_LIMIT) for child in children))
            trouble = next(filter(None, answers), None)
            if trouble is not None:
                self._tell(messages.Abort())
                raise PyproxyError(trouble)
            self._config = config
            for child in children:
                child.config = config
                child.send(messages.Commit())
            self._store.cache.limit = config.storage.max_cache_size
        await shrink(self._store)

    async def _catch_up(self, child: Child) -> None:
        """A worker that was started before a reload is ready after it."""
        async with self._applying:
            config = self._config
            if child.config is config:
                return
            trouble = await child.prepare(config, PREPARE_LIMIT)
            if trouble is not None:
                log.error("worker %d cannot serve the configuration that is in force: %s", child.index, trouble)
                child.kill()
                return
            child.config = config
            child.send(messages.Commit())


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _over(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)
