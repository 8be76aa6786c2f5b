"""Forgetting versions of a repository, and what no version holds after that: rows first, then the files."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from pyproxy.model import Sha256
from pyproxy.storage.environment import Txn
from pyproxy.storage.local_ledger import LocalLedger
from pyproxy.storage.local_rows import NUMBER, Head, LocalFile, number, row_key, sidecar_key
from pyproxy.storage.local_view import scan, unpacked


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was forgotten: the numbers of versions, how many files, and the blobs that nothing needs any more."""

    versions: tuple[int, ...] = ()
    files: int = 0
    blobs: int = 0
    nbytes: int = 0


@dataclass(slots=True)
class Leavings:
    """What was forgotten, and what is left to do: blobs to be unlinked, sidecars to be cut short."""

    pruned: Pruned
    digests: list[Sha256] = field(default_factory=list)
    pending: list[bytes] = field(default_factory=list)


def prune(ledger: LocalLedger, repository: str, *, keep: int, pinned: Collection[int]) -> Callable[[Txn], Leavings]:
    """Forgets all versions but the last `keep` and the pinned ones. Names stay taken."""

    def job(txn: Txn) -> Leavings:
        head = ledger.head(txn, repository)
        if head is None:
            return Leavings(Pruned())
        numbers = [version.number for version in ledger.versions(txn, head)]
        kept = sorted({*numbers[-keep:], *(number for number in numbers if number in pinned)})
        gone = tuple(sorted(set(numbers) - set(kept)))
        for one in gone:
            txn.delete(head.prefix + number(one), db=ledger.env.versions)
        left = Leavings(Pruned(gone))
        dropped = list(_drop_rows(ledger, txn, head, kept))
        nbytes = sum(_release(ledger, txn, file, left.digests) for file in dropped)
        for file in dropped:
            key = row_key(head, file.project, file.filename)
            rows = scan(txn, ledger.env.past, key + b"\0")
            if txn.get(key, db=ledger.env.current) is None and next(rows, None) is None:
                left.pending.append(ledger.mark_pending(txn, sidecar_key(repository, file.filename, file.digest)))
        left.pruned = Pruned(gone, files=len(dropped), blobs=len(left.digests), nbytes=nbytes)
        return left

    return job


def _drop_rows(ledger: LocalLedger, txn: Txn, head: Head, kept: list[int]) -> Iterator[LocalFile]:
    """Drops the rows that none of the kept versions (sorted) holds."""
    for key, value in list(scan(txn, ledger.env.past, head.prefix)):
        added, removed = int.from_bytes(key[-NUMBER:], "big"), int.from_bytes(value[:NUMBER], "big")
        at = bisect_left(kept, added)
        if at == len(kept) or kept[at] >= removed:
            txn.delete(key, db=ledger.env.past)
            yield unpacked(value[NUMBER:])


def _release(ledger: LocalLedger, txn: Txn, file: LocalFile, unneeded: list[Sha256]) -> int:
    """One row less needs the file's blob and documents; the bytes of the blob that none needs now."""
    nbytes = 0
    for digest in file.digests:
        blob = ledger.blob(txn, digest)
        count = ledger.refs(txn, digest) - 1
        ledger.put_refs(txn, digest, count)
        if blob is not None and count <= 0:
            unneeded.append(digest)
            nbytes += blob.size
    return nbytes
