"""Files of local content that no row knows: what a crash, a failed add or a pruning leaves. They go, after a while.

A blob or sidecar without a row may be one that another process is about to record, unless it was there when nobody
else was in the store. The store may be in use meanwhile: under the index's write lock it is looked at again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from pyproxy.errors import StoreTrouble
from pyproxy.model import Sha256
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.catching_up import PORTION, CatchingUp
from pyproxy.storage.environment import Txn, translated
from pyproxy.storage.local_ledger import LocalLedger
from pyproxy.storage.sidecars import Sidecars
from pyproxy.storage.writer import Writer

log = logging.getLogger(__name__)
T = TypeVar("T")

YOUNG_NS: Final = 3600 * 10**9
"""Nanoseconds during which a file without a row may be one that another process is about to record."""

AT_ONCE: Final = 1000
"""Blobs taken away in one transaction: 20 ms, for which all other writers wait."""


class LocalSweep:
    """Every method blocks. `settled_ns`: no other process was in the store at that time; 0 where somebody was.

    `busy` tells whether an add of this process relies on a blob.
    """

    def __init__(
        self,
        ledger: LocalLedger,
        writer: Writer,
        blobs: Blobs,
        sidecars: Sidecars,
        *,
        settled_ns: int,
        busy: Callable[[Sha256], bool],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._writer = writer
        self._blobs = blobs
        self._sidecars = sidecars
        self._settled_ns = settled_ns
        self._busy = busy
        self._clock = clock

    @translated
    def shards(self) -> list[str]:
        """What there is to look at: the first two digits of the digests on disk and in the index."""
        with self._ledger.env.reading() as txn:
            return sorted(self._blobs.shards() | self._ledger.shards(txn))

    def orphans(self, shard: str) -> tuple[list[Sha256], list[bytes]]:
        """The blobs and the sidecars that no row knows and nobody can be adding. Raises StoreTrouble."""
        limit = max(self._settled_ns, int(self._clock() * 1e9) - YOUNG_NS)
        blobs = []
        for digest in self._unknown_blobs(shard):
            found = self._blobs.stat(digest)
            if found is not None and found.st_mtime_ns <= limit and not self._busy(digest):
                blobs.append(digest)
        sidecars = []
        for key in self._unknown_sidecars(shard):
            written = self._sidecars.age(key)
            if written is not None and written <= limit and not self._busy(digest_of(key)):
                sidecars.append(key)
        return blobs, sidecars

    def sweep(self, shard: str) -> int:
        """Takes the orphans of a shard away; how many files went. Raises StoreTrouble."""
        blobs, sidecars = self.orphans(shard)
        return self.remove_sidecars(sidecars) + self.unlink(blobs)

    def remove_sidecars(self, keys: list[bytes]) -> int:
        """Takes away those of the sidecars that no row knows; how many went. Raises StoreTrouble."""

        def remove(txn: Txn) -> int:
            return sum(self._sidecars.remove(key) for key in keys if self._ledger.sidecar(txn, key) is None)

        return self._writer.call(remove) if keys else 0

    def unlink(self, digests: list[Sha256]) -> int:
        """Takes away the files of those of the blobs that have no row; how many went. Raises StoreTrouble.

        They are renamed in the transaction, which is quick however large they are, and unlinked after it.
        """
        gone = 0
        for portion in _portions(digests, AT_ONCE):
            aside: list[Path] = []
            self._writer.call(partial(self._move, portion, aside))
            for path in aside:
                self._blobs.unlink(path)
            gone += len(aside)
        return gone

    def _move(self, digests: list[Sha256], aside: list[Path], txn: Txn) -> None:
        for digest in digests:
            if self._ledger.blob(txn, digest) is None and not self._busy(digest):
                path = self._blobs.set_aside(digest)
                if path is not None:
                    aside.append(path)

    @translated
    def _unknown_blobs(self, shard: str) -> list[Sha256]:
        with self._ledger.env.reading() as txn:
            return [digest for digest in self._blobs.shard(shard) if self._ledger.blob(txn, digest) is None]

    @translated
    def _unknown_sidecars(self, shard: str) -> list[bytes]:
        with self._ledger.env.reading() as txn:
            return [key for key in self._sidecars.shard(shard) if self._ledger.sidecar(txn, key) is None]


class PuttingInOrder:
    """What a start has to do, in portions: sidecars that a crash left out of date, then files that it left over."""

    def __init__(self, sweep: LocalSweep, catching_up: CatchingUp, *, needed: bool) -> None:
        self.done = not needed
        self._sweep = sweep
        self._catching_up = catching_up
        self._portions: Iterator[int] = iter(()) if self.done else self._work()

    def work(self, *, seconds: float) -> None:
        """Goes on for about so long. Blocking. What cannot be done is logged and left to the next start."""
        deadline = time.monotonic() + seconds
        while not self.done and time.monotonic() < deadline:
            try:
                self.done = next(self._portions, None) is None
            except StoreTrouble as exc:
                log.warning("local content could not be put in order: %s", exc)
                self.done = True

    def _work(self) -> Iterator[int]:
        for portion in _portions(self._catching_up.waiting(), PORTION):
            self._catching_up.work(portion)
            yield 0
        swept = 0
        for shard in self._sweep.shards():
            swept += self._sweep.sweep(shard)
            yield swept
        if swept:
            log.info("swept %d files of local content that were never recorded", swept)


def digest_of(key: bytes) -> Sha256:
    """The blob that a sidecar lies beside."""
    return Sha256(key[:32].hex())


def _portions(items: list[T], size: int) -> Iterable[list[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))
