"""Who failed how often of late. Counts; never asks who anybody is, and forgets the longest untouched first."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

WINDOW = 60.0
"""Seconds for which a failure counts."""

_REMEMBERED = 4096


class Failures:
    """How many failures each key had in the last `WINDOW` seconds, up to the `most` that are too many."""

    def __init__(self, most: int, *, clock: Callable[[], float], remembered: int = _REMEMBERED) -> None:
        self._most = most
        self._clock = clock
        self._remembered = remembered
        self._times: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def are_too_many(self, key: Hashable) -> bool:
        times = self._times.get(key)
        # The oldest of the last `most`: the deque holds no more.
        return times is not None and len(times) >= self._most and times[0] > self._clock() - WINDOW

    def add(self, key: Hashable) -> bool:
        """Counts one; tells whether it is the one that makes them too many."""
        before = self.are_too_many(key)
        self._times.setdefault(key, deque(maxlen=self._most)).append(self._clock())
        self._times.move_to_end(key)
        while len(self._times) > self._remembered:
            self._times.popitem(last=False)
        return not before and self.are_too_many(key)


def network_of(address: str) -> str:
    """The address, or the network of a single IPv6 host: it may take any of its 2^64 addresses for each guess."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a Unix socket has none
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
