"""Locks by key, for threads: each is there for as long as anybody wants it."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field


class KeyedLocks:
    """Who wants several at once gets them in one order, so that nobody waits in a circle."""

    def __init__(self) -> None:
        self._wanted: dict[Hashable, _Wanted] = {}
        self._holders = 0
        self._lock = threading.Lock()  # guards both

    def __len__(self) -> int:
        """How many hold locks, or wait for some."""
        return self._holders

    def wanted(self, key: Hashable) -> bool:
        return key in self._wanted

    @contextmanager
    def held(self, keys: Iterable[tuple[str, str]]) -> Iterator[None]:
        order = sorted(set(keys))
        with self._lock:
            self._holders += 1
            wanted = [self._wanted.setdefault(key, _Wanted()) for key in order]
            for one in wanted:
                one.count += 1
        try:
            with ExitStack() as locks:
                for one in wanted:
                    locks.enter_context(one.lock)
                yield
        finally:
            with self._lock:
                self._holders -= 1
                for key, one in zip(order, wanted, strict=True):
                    one.count -= 1
                    if not one.count:
                        del self._wanted[key]


@dataclass(slots=True)
class _Wanted:
    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0
