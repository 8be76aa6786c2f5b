"""Watches the files of the configuration and hands every right new one to whoever applies it.

Nothing here knows what a configuration is applied to. A wrong one changes nothing: it is logged, counted and
forgotten, until its files change again.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pyproxy.config import Config, Stamp, WrongConfig, loops, stamp_of, warnings
from pyproxy.errors import ConfigError, PyproxyError

log = logging.getLogger(__name__)

# A writer that takes longer than this many rests is not waited for: then the file is read as it is, and read again.
_MOST_RESTS = 10


class ConfigWatch:
    """Loads anew when a file changes (where the configuration wants that) and whenever it is poked.

    `load` blocks and runs in a thread; it raises ConfigError. `apply` is awaited on the loop with each right
    configuration; one that raises PyproxyError has changed nothing. `failed` is called once for each configuration that
    could not be used. `interval` is how often the files are looked at, `settle` how long they must have been left alone
    before they are read: an editor may write a file in pieces, and its first half may be right too. Both in seconds;
    `rest` waits for as many.
    """

    def __init__(
        self,
        current: Config,
        load: Callable[[], Config],
        *,
        apply: Callable[[Config], Awaitable[None]],
        failed: Callable[[], None],
        interval: float = 1.0,
        settle: float = 0.2,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.current = current  # written by run() alone
        self._load = load
        self._apply = apply
        self._failed = failed
        self._interval = interval
        self._settle = settle
        self._rest = rest
        self._seen: Mapping[Path, Stamp | None] = current.files  # as they were when last read, whether right or wrong
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """Load again, changed or not: what SIGHUP asks for. To be called on the loop.

        A poke that comes while a load goes on makes another one; any number of them makes no more than that.
        """
        self._poked.set()

    async def run(self) -> None:
        """Watches until it is cancelled."""
        while True:
            if await self._wait():
                await self._reload()

    async def _wait(self) -> bool:
        """Whether there is reason to load: a poke at once, a change within the interval."""
        try:
            await asyncio.wait_for(self._poked.wait(), self._interval if self.current.server.watch_config else None)
        except TimeoutError:
            return await asyncio.to_thread(self._changed)
        return True

    def _changed(self) -> bool:
        return any(stamp_of(path) != stamp for path, stamp in self._seen.items())

    async def _reload(self) -> None:
        await self._settled()
        # Cleared before the files are read: who pokes from here on has changed something that may be missed.
        self._poked.clear()
        try:
            config = await asyncio.to_thread(self._load)
            self._seen = config.files
            await self._use(config)
        except ConfigError as exc:
            if isinstance(exc, WrongConfig):
                self._seen = exc.files
            self._refuse(exc.mistakes)
        except PyproxyError as exc:
            self._refuse([str(exc)])
        except Exception:
            # Whatever it is, it is ours to mend and not a reason to stop serving, or to be deaf to the next SIGHUP.
            log.exception("the new configuration could not be applied; the old one stays")
            self._failed()

    async def _settled(self) -> None:
        """Returns once no file has been written to, or is gone, since `settle` seconds ago."""
        for _ in range(_MOST_RESTS):
            ages = await asyncio.to_thread(self._ages)
            # A time in the future is a clock set back, and no reason to wait for the future.
            if all(not 0 <= age < self._settle for age in ages):
                return
            await self._rest(self._settle)

    def _ages(self) -> list[float]:
        stamps = [(before, stamp_of(path)) for path, before in self._seen.items()]
        now = time.time_ns()
        # A file that was there and is not may be about to come back: some editors remove it before they write.
        return [(now - stamp.mtime_ns) / 1e9 if stamp else 0.0 for before, stamp in stamps if before or stamp]

    async def _use(self, config: Config) -> None:
        config = self._with_what_stays(config)
        # The address that is listened on may not be the file's, so what was right there may be a loop here.
        if found := loops(config):
            raise ConfigError(found)
        await self._apply(config)
        self.current = config
        log.info("configuration loaded again from %s", config.source)
        for warning in warnings(config):
            log.warning("%s", warning)

    def _with_what_stays(self, config: Config) -> Config:
        """The configuration with the old values of the keys that take a restart; a line in the log for each."""
        old = self.current
        pairs = (
            ("server.listen", old.server.listen, config.server.listen),
            ("server.workers", old.server.workers, config.server.workers),
            ("storage.path", old.storage.path, config.storage.path),
        )
        for path, before, after in pairs:
            if before != after:
                where = config.where(path)
                log.warning("%s: %s: takes a restart to become %s; it stays %s until then", where, path, after, before)
        return replace(
            config,
            server=replace(config.server, listen=old.server.listen, workers=old.server.workers),
            storage=replace(config.storage, path=old.storage.path),
        )

    def _refuse(self, mistakes: list[str]) -> None:
        log.error("the new configuration is wrong, the old one stays in use:")
        for mistake in mistakes:
            log.error("%s", mistake)
        self._failed()


def early() -> threading.Event:
    """Set by a SIGHUP, which would else end the process until the daemon listens for it. For the main thread."""
    came = threading.Event()
    signal.signal(signal.SIGHUP, lambda _number, _frame: came.set())
    return came
