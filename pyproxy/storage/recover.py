"""Bringing a store back in order at its start: what a crash, a power cut or an administrator left behind.

It must be quick where all was well. So the last to leave a store writes down how he left its index; only where that
is missing, or the index has changed since, is the index read through (in a child process) and disk compared with rows.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyproxy.errors import StoreTrouble
from pyproxy.model import Sha256
from pyproxy.storage import check
from pyproxy.storage.audit import Audit
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import DATA_FILE
from pyproxy.storage.findings import Finding
from pyproxy.storage.mounts import REMOTE, filesystem_of
from pyproxy.storage.stock import Stock

log = logging.getLogger(__name__)

ALLOW_REMOTE: Final = "PYPROXY_ALLOW_REMOTE_FS"

CHECK_SECONDS: Final = 60.0
CHECK_RATE: Final = 20 << 20
"""A check may take a minute, and a second for each so many bytes: longer means that it goes in circles."""

_INDEX_FILES: Final = (DATA_FILE, "lock.mdb")
_GONE_ASIDE: Final = "index.damaged-"
_OUTSIDE: Final = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
"""Signals that come from without and tell nothing about the index."""


def refuse_remote(path: Path, environment: Mapping[str, str]) -> None:
    """Raises StoreTrouble where the store would lie on a remote file system."""
    kind = filesystem_of(path)
    if kind not in REMOTE:
        return
    if environment.get(ALLOW_REMOTE) != "1":
        raise StoreTrouble(
            f"{path} lies on a remote file system ({kind}), where the index would be damaged: "
            f"choose a local folder, or set {ALLOW_REMOTE}=1 and take the risk"
        )
    log.warning("%s lies on a remote file system (%s): the index may be damaged there", path, kind)


class CleanMark:
    """The note that the store was left in order, naming the index as it was then."""

    def __init__(self, disk: Disk, *, path: Path, index: Path) -> None:
        self._disk = disk
        self._path = path
        self._index = index

    def holds(self) -> bool:
        """Whether the store was left in order and its index not touched since."""
        note = self._disk.read_all(self._path)
        return note is not None and note == self._note()

    def clear(self) -> None:
        """From now on, a crash is a crash."""
        if self._disk.unlink(self._path):
            self._disk.sync_dir(self._path.parent)

    def write(self) -> None:
        """After the index has been closed."""
        note = self._note()
        if note is not None:
            self._disk.write_whole(self._path, note)

    def _note(self) -> bytes | None:
        found = self._disk.lstat(self._index / DATA_FILE)
        return None if found is None else f"{found.st_size} {found.st_mtime_ns}\n".encode()


def index_damage(disk: Disk, index: Path) -> str | None:
    """What is wrong with the index, found out by a child process; None where it is sound or there is none.

    Raises StoreTrouble where the child could not look.
    """
    found = disk.lstat(index / DATA_FILE)
    if found is None:
        return None
    limit = CHECK_SECONDS + found.st_size / CHECK_RATE
    try:
        done = subprocess.run(  # noqa: S603 - our own module, by its path: it is found wherever we run from
            [sys.executable, "-P", check.__file__, str(index)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return f"reading it did not end within {limit:.0f} s"
    except OSError as exc:
        raise StoreTrouble(f"cannot check the index: {exc.strerror}") from exc
    said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    if done.returncode == check.SOUND:
        return None
    if done.returncode == check.DAMAGED:
        return said
    if done.returncode < 0 and -done.returncode not in _OUTSIDE:
        return f"reading it ended in {signal.Signals(-done.returncode).name}"
    raise StoreTrouble(f"cannot check the index: {said or f'exit code {done.returncode}'}")


def set_index_aside(disk: Disk, index: Path, why: str) -> None:
    """Renames a damaged index, so that a fresh one is begun; of earlier ones none is kept. Raises StoreTrouble."""
    for name in disk.names(index.parent):
        if name.startswith(_GONE_ASIDE):
            _remove_index(disk, index.parent / name)
    aside = index.with_name(f"{_GONE_ASIDE}{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
    disk.rename(index, aside)
    log.error("the index was damaged (%s): it is kept as %s and a fresh one is begun", why, disk.shown(aside))


def _remove_index(disk: Disk, folder: Path) -> None:
    try:
        for name in _INDEX_FILES:
            disk.unlink(folder / name)
        disk.remove_dir(folder)
    except StoreTrouble as exc:
        log.warning("an earlier damaged index stays: %s", exc)


@dataclass(slots=True)
class Drift:
    """What the comparison of disk and rows had to mend: numbers of blobs, and bytes the account was wrong by."""

    adopted: int = 0
    removed: int = 0
    dropped: int = 0
    nbytes: int = 0

    def count(self, finding: Finding) -> None:
        if finding.kind == "orphan":
            self.adopted += finding.nbytes > 0
            self.removed += finding.nbytes <= 0
        else:
            self.dropped += 1
        self.nbytes += finding.nbytes


class Reconciliation:
    """The comparison of disk and rows after a crash, in portions: one shard, or one file without a row, at a time."""

    def __init__(self, audit: Audit, stock: Stock, *, needed: bool) -> None:
        self.drift = Drift()
        self._audit = audit
        self._stock = stock
        self._needed = needed
        self._shards: list[str] | None = None  # those yet to be compared, once we have begun
        self._orphans: list[tuple[Sha256, int]] = []

    @property
    def done(self) -> bool:
        return not self._needed

    def work(self, *, seconds: float, nbytes: int | None = None) -> None:
        """Goes on for about so long, reading at most so many bytes of files without a row. Raises StoreTrouble.

        Blocking. A single large file may take longer, about a second for 1.5 GB.
        """
        if self.done:
            return
        deadline = time.monotonic() + seconds
        if self._shards is None:
            self._shards = self._audit.shards()
        while self._shards or self._orphans:
            if time.monotonic() >= deadline:
                return
            if self._shards:
                shard = self._shards[-1]
                for finding in self._audit.blobs(shard, mend=True, rehash=False):
                    self._tell(finding)
                self._orphans += list(self._audit.orphans(shard))
                self._shards.pop()
                continue
            digest, size = self._orphans[-1]
            if nbytes is not None:
                nbytes -= size
                if nbytes < 0:
                    return
            self._tell(self._audit.orphan(digest, size, mend=True))
            self._orphans.pop()
        self._stock.shrink()
        self._needed = False
        log.log(logging.INFO if self.drift != Drift() else logging.DEBUG, "disk and index agree: %s", self.drift)

    def _tell(self, finding: Finding) -> None:
        self.drift.count(finding)
        log.warning("%s", finding)
