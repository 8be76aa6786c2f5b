"""Forgetting versions of a repository, and what no version holds after that: rows first, then the files.

A file name stays taken by the bytes that it had, also where nothing else is left of them: its row in `taken` and its
sidecar, cut short to the name and the digest, are never pruned.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pyproxy.model import Filename, Sha256
from pyproxy.storage.environment import Txn
from pyproxy.storage.local_ledger import LocalLedger
from pyproxy.storage.local_rows import NUMBER, Head, LocalFile, RepositoryVersion, number, sidecar_key
from pyproxy.storage.local_view import scan, unpacked


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Which versions stay, beside the latest: the `last` so many, those of the last `within` seconds, the `pinned`."""

    last: int = 1
    within: float | None = None
    pinned: frozenset[int] = frozenset()

    def of(self, versions: Sequence[RepositoryVersion], now: float) -> list[int]:
        """The numbers of those that stay, sorted. `versions` are in order.

        Within a time is what was the latest at any moment of it, so that what was served then can be served again.
        """
        since = math.inf if self.within is None else now - self.within
        kept = {version.number for version in versions[-self.last :]} | self.pinned
        # A version was the latest until the one after it was made.
        kept.update(one.number for one, after in pairwise(versions) if after.created_at > since)
        return sorted(kept & {version.number for version in versions})


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was forgotten: the numbers of versions, how many files, and the blobs that nothing needs any more.

    `gone` are the names that no version holds now, `left` the versions that stay.
    """

    versions: tuple[int, ...] = ()
    files: int = 0
    blobs: int = 0
    nbytes: int = 0
    gone: tuple[Filename, ...] = ()
    left: tuple[int, ...] = ()


@dataclass(slots=True)
class Leavings:
    """What was forgotten, and what is left to do: blobs to be unlinked, sidecars to be written anew."""

    pruned: Pruned
    digests: list[Sha256] = field(default_factory=list)
    pending: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a pruning would do."""

    head: Head
    pruned: Pruned
    rows: list[tuple[bytes, LocalFile]]
    digests: list[Sha256]
    stale: list[LocalFile]


@dataclass(frozen=True, slots=True)
class _Unheld:
    """The rows that no version needs; the names that no row is left of; and one file for each sidecar out of date."""

    rows: list[tuple[bytes, LocalFile]]
    gone: tuple[Filename, ...]
    stale: list[LocalFile]


def foresee(ledger: LocalLedger, txn: Txn, repository: str, keep: Keep, *, now: float) -> Pruned:
    """What `prune` would do now."""
    plan = _plan(ledger, txn, repository, keep, now)
    return Pruned() if plan is None else plan.pruned


def prune(ledger: LocalLedger, repository: str, keep: Keep, *, clock: Callable[[], float]) -> Callable[[Txn], Leavings]:
    """Forgets all versions but those to keep. Names stay taken."""

    def job(txn: Txn) -> Leavings:
        plan = _plan(ledger, txn, repository, keep, clock())
        if plan is None:
            return Leavings(Pruned())
        for one in plan.pruned.versions:
            txn.delete(plan.head.prefix + number(one), db=ledger.env.versions)
        for key, file in plan.rows:
            txn.delete(key, db=ledger.env.past)
            for digest in file.digests:
                ledger.put_refs(txn, digest, ledger.refs(txn, digest) - 1)
        pending = [ledger.mark_pending(txn, sidecar_key(repository, file.filename, file.digest)) for file in plan.stale]
        return Leavings(plan.pruned, plan.digests, pending)

    return job


def _plan(ledger: LocalLedger, txn: Txn, repository: str, keep: Keep, now: float) -> _Plan | None:
    head = ledger.head(txn, repository)
    if head is None:
        return None
    versions = list(ledger.versions(txn, head))
    kept = keep.of(versions, now)
    unheld = _unheld(ledger, txn, head, kept)
    digests = list(_unneeded(ledger, txn, unheld.rows))
    blobs = [blob for digest in digests if (blob := ledger.blob(txn, digest)) is not None]
    pruned = Pruned(
        versions=tuple(version.number for version in versions if version.number not in kept),
        files=len(unheld.rows),
        blobs=len(digests),
        nbytes=sum(blob.size for blob in blobs),
        gone=unheld.gone,
        left=tuple(kept),
    )
    return _Plan(head, pruned, unheld.rows, digests, unheld.stale)


def _unheld(ledger: LocalLedger, txn: Txn, head: Head, kept: list[int]) -> _Unheld:
    """What none of the kept versions (sorted) holds.

    Of a file that the latest version has not, the sidecar tells by its last row. Where that goes, the sidecar is out
    of date, whether or not an earlier row stays that tells something else of the file.
    """
    rows: list[tuple[bytes, LocalFile]] = []
    last: dict[bytes, LocalFile | None] = {}  # by name, the file of its last row; None where that stays
    held: set[bytes] = set()
    for key, value in scan(txn, ledger.env.past, head.prefix):
        added, removed = int.from_bytes(key[-NUMBER:], "big"), int.from_bytes(value[:NUMBER], "big")
        name = key[: -NUMBER - 1]
        at = bisect_left(kept, added)
        if at < len(kept) and kept[at] < removed:
            held.add(name)
            last[name] = None
        else:
            file = last[name] = unpacked(value[NUMBER:])
            rows.append((key, file))
    stale = {
        name: file for name, file in last.items() if file is not None and txn.get(name, db=ledger.env.current) is None
    }
    gone = tuple(file.filename for name, file in stale.items() if name not in held)
    return _Unheld(rows, gone, list(stale.values()))


def _unneeded(ledger: LocalLedger, txn: Txn, rows: list[tuple[bytes, LocalFile]]) -> Iterator[Sha256]:
    """The blobs that no other row needs."""
    fewer = Counter(digest for _, file in rows for digest in file.digests)
    for digest, count in fewer.items():
        if ledger.refs(txn, digest) <= count and ledger.blob(txn, digest) is not None:
            yield digest
