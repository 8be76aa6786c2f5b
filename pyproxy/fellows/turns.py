"""Whose turn it is to fetch something: one worker at a time for each key, however many of them want it.

A turn is a record lock on one byte of a file, at an offset made of its key. The kernel gives it back when its holder
dies, so nobody waits for the dead; the file stays empty.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from pyproxy.errors import StoreTrouble

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.001
LAST_PAUSE: Final = 0.01
"""Seconds between two looks at whether a turn has come: short at first, as most waits are for something quick."""


class Turn:
    """The right to fetch, until `release`. Who has it looks first whether what is wanted is there by now."""

    def __init__(self, back: Callable[[], None] = lambda: None) -> None:
        self._back: Callable[[], None] | None = back

    def release(self) -> None:
        """Does nothing the second time."""
        back, self._back = self._back, None
        if back is not None:
            back()


class Turns(Protocol):
    """Who gives turns."""

    async def take(self, key: str, *, until: float) -> Turn:
        """Waits for the turn until a time of the loop. Raises TimeoutError."""


class FreeTurns:
    """For a worker without fellows: it is always its turn, as its own requests for one thing share a flight."""

    async def take(self, key: str, *, until: float) -> Turn:
        del key, until
        return Turn()


class SharedTurns:
    """Turns among processes that have the same file open. Owned by one event loop.

    `joined` is called when somebody has waited: what another fetched was fetched for it too.
    """

    def __init__(self, path: Path, *, joined: Callable[[], None] = lambda: None) -> None:
        """Raises StoreTrouble."""
        try:
            # Opened once in a process: closing any descriptor of the file gives back every lock that the process has.
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StoreTrouble(f"cannot open {path.name}: {exc.strerror}") from exc
        self._ours: set[int] = set()  # the kernel asks which process, not which task, holds a byte
        self.joined = joined

    def close(self) -> None:
        os.close(self._fd)

    def try_take(self, key: str) -> Turn | None:
        """The turn, if nobody has it. Where the kernel gives no locks, everybody has it."""
        offset = int.from_bytes(hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=8).digest()) >> 2
        if offset in self._ours:
            return None
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):
            return None
        except OSError as exc:
            log.warning("what is fetched is not shared among workers: cannot lock: %s", exc.strerror)
            return Turn()
        self._ours.add(offset)
        return Turn(lambda: self._give_back(offset))

    async def take(self, key: str, *, until: float) -> Turn:
        turn = self.try_take(key)
        if turn is not None:
            return turn
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while (turn := self.try_take(key)) is None:
            if loop.time() >= until:
                raise TimeoutError
            await asyncio.sleep(min(pause, max(0.0, until - loop.time())))
            pause = min(LAST_PAUSE, pause * 1.5)
        self.joined()
        return turn

    def _give_back(self, offset: int) -> None:
        self._ours.discard(offset)
        fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, offset)
