"""Passwords against bcrypt hashes: in threads, a few at once, a few more waiting, and no more.

bcrypt is slow on purpose: a check keeps a core busy for 5 ms to 2 s, whatever comes out of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

import bcrypt

from pyproxy.errors import PyproxyError

CHECKS = 2
"""So many at once: logins may not take every core from those who have logged in."""

WAITING = 16
"""So many more may wait; with the slowest hashes for a quarter of a minute."""

# bcrypt takes no more of a password than this.
_LONGEST = 72


class TooBusy(PyproxyError):
    """So many passwords wait for their check already that this one is not looked at."""


def _fits(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:
        return False  # no bcrypt hash: nobody gets in by it


class Passwords:
    """The checks of one process, whichever guard asks. Owned by one event loop."""

    def __init__(
        self,
        executor: Executor,
        *,
        checks: int = CHECKS,
        waiting: int = WAITING,
        fits: Callable[[bytes, bytes], bool] = _fits,
    ) -> None:
        self._executor = executor
        self._slots = asyncio.Semaphore(checks)
        self._most_waiting = waiting
        self._waiting = 0
        self._fits = fits

    async def fit(self, password: bytes, hashed: bytes) -> bool:
        """Whether it is the password of which the hash was made. Raises TooBusy.

        One too long for bcrypt never is: its beginning alone would be compared.
        """
        if len(password) > _LONGEST:
            return False
        if self._slots.locked() and self._waiting >= self._most_waiting:
            raise TooBusy("too many passwords are being checked")
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self._fits, password, hashed)
        finally:
            self._slots.release()
