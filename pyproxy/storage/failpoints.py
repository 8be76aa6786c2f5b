"""Places at which a test lets the store die, fail or wait; nothing at all unless the environment asks for it.

PYPROXY_FAILPOINT=name:action[@n][,name:action[@n]…]

The names, in the order of a store: temp-created, half-written, all-written, hash-checked, temp-synced, renamed,
dir-synced, txn-open, committed; and of an eviction: evict-row-deleted, evict-unlinked. An action is `kill`
(SIGKILL to this process), an errno's name (`ENOSPC`, raised as OSError) or `sleep=SECONDS`. With `@n` it acts at
the n-th passage alone (`@1` is the first), else at every one.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pyproxy.errors import StoreTrouble

VARIABLE: Final = "PYPROXY_FAILPOINT"

NAMES: Final = frozenset(
    {
        "temp-created",
        "half-written",
        "all-written",
        "hash-checked",
        "temp-synced",
        "renamed",
        "dir-synced",
        "txn-open",
        "committed",
        "evict-row-deleted",
        "evict-unlinked",
    }
)


@dataclass(slots=True)
class _Armed:
    act: Callable[[], None]
    nth: int | None
    passed: int = 0


class Failpoints:
    """The armed points of one store. `passing` is called from any thread."""

    def __init__(self, armed: dict[str, _Armed] | None = None) -> None:
        self._armed = armed or {}
        self._lock = threading.Lock()  # guards the counts of passages

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Failpoints:
        """Raises StoreTrouble for a value that cannot be understood: a typo would test nothing."""
        armed: dict[str, _Armed] = {}
        for entry in filter(None, environment.get(VARIABLE, "").split(",")):
            name, _, rest = entry.strip().partition(":")
            action, _, nth = rest.partition("@")
            if name not in NAMES or (nth and not nth.isdigit()):
                raise StoreTrouble(f"{VARIABLE}: no failpoint {entry!r}")
            armed[name] = _Armed(_action(action), int(nth) if nth else None)
        return cls(armed)

    def armed(self, name: str) -> bool:
        """Whether anything may happen here."""
        return name in self._armed

    def passing(self, name: str) -> None:
        """Raises OSError, sleeps, or never returns."""
        if not self._armed or (point := self._armed.get(name)) is None:
            return
        with self._lock:
            point.passed += 1
            due = point.nth is None or point.passed == point.nth
        if due:
            point.act()


def _action(text: str) -> Callable[[], None]:
    if text == "kill":
        return _kill
    verb, _, argument = text.partition("=")
    if verb == "sleep":
        try:
            seconds = float(argument)
        except ValueError:
            raise StoreTrouble(f"{VARIABLE}: sleep wants seconds, not {argument!r}") from None
        return lambda: time.sleep(seconds)
    number = getattr(errno, text, None)
    if not isinstance(number, int):
        raise StoreTrouble(f"{VARIABLE}: no action {text!r}")
    return lambda: _fail(number)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(number: int) -> None:
    raise OSError(number, os.strerror(number))
