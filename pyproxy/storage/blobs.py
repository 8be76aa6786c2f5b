"""Bytes by digest: temporary files, and the files named by their SHA-256 that they become.

A temp is named so that it can never pass for a blob, and holds a lock for as long as its process lives: what a
crash leaves behind is told from a download under way without asking who it belonged to.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar

from pyproxy.errors import BadName, BlobDamaged, StoreTrouble
from pyproxy.model import Sha256, as_sha256
from pyproxy.storage.disk import Disk
from pyproxy.storage.temps import Temp

log = logging.getLogger(__name__)

_TEMP: Final = re.compile(r"\d{1,10}\.[0-9a-f]{32}\Z")
_SHARD: Final = re.compile(r"[0-9a-f]{2}\Z")
_ATTEMPTS: Final = 10

T = TypeVar("T")
R = TypeVar("R")


class Each(Protocol):
    """How something is done with each of several: one after the other, as `map` does it, or otherwise."""

    def __call__(self, work: Callable[[T], R], items: Sequence[T], /) -> Iterable[R]: ...


class Blobs:
    """The blob files below `root` and the temporary files in `tmp`, on one file system. Knows no index.

    With one of `levels` they lie in 256 folders: a new blob seldom needs a folder made and synced, which with two took
    longer than the blob itself. Those that an earlier version put two folders deep are moved as they are come across.
    """

    def __init__(self, disk: Disk, *, root: Path, tmp: Path, levels: Literal[1, 2] = 1) -> None:
        self.root = root
        self.tmp = tmp
        self._disk = disk
        self._root = str(root)
        self._levels = levels

    def path(self, digest: Sha256) -> Path:
        return Path(self._name(digest))

    def _name(self, digest: Sha256) -> str:
        return f"{self._root}/{digest[:2]}/{digest}" if self._levels == 1 else self._deep_name(digest)

    def _deep_name(self, digest: Sha256) -> str:
        return f"{self._root}/{digest[:2]}/{digest[2:4]}/{digest}"

    def _found(self, digest: Sha256, look: Callable[[str], T | None]) -> T | None:
        """What `look` finds of a blob, where it lies now or lay before."""
        found = look(self._name(digest))
        if found is None and self._levels == 1:
            found = look(self._brought_up(digest))  # in any case: another may have brought it up just now
        return found

    def _brought_up(self, digest: Sha256) -> str:
        """Where a blob of an earlier version lies now: where it was, if the disk refuses to move it. A full one may."""
        deep, name = self._deep_name(digest), self._name(digest)
        try:
            moved = self._disk.rename(deep, name)
        except StoreTrouble:
            return deep
        if moved:
            with contextlib.suppress(StoreTrouble):  # there are others in it
                self._disk.remove_dir(os.path.dirname(deep))  # noqa: PTH120 - as its path: a Path takes 5 µs
        return name

    def temp(self) -> Temp:
        """A new temporary file. Raises StoreFull, StoreTrouble."""
        for _ in range(_ATTEMPTS):
            path = self._temp_path()
            fd = self._disk.create(path)
            try:
                # Somebody who sweeps may have locked it, or taken it away, before we had the lock.
                ours = self._disk.try_lock(fd, path) and self._disk.fstat(fd, path).st_nlink > 0
                if ours:
                    self._disk.point("temp-created", path)
            except BaseException:
                Temp(self._disk, path, fd).discard()
                raise
            if ours:
                return Temp(self._disk, path, fd)
            os.close(fd)
        raise StoreTrouble("temporary files are swept faster than they can be made")

    def adopt(self, temp: Temp, digest: Sha256) -> None:
        """Makes the temp the blob of this digest, which the caller has checked. Blocking: two fsyncs or more.

        Raises StoreFull, StoreTrouble; a file may then stand under the blob's name, whole but not sure to last.
        """
        (trouble,) = self.adopt_all([(temp, digest)])
        if trouble is not None:
            raise trouble

    def adopt_all(self, temps: Sequence[tuple[Temp, Sha256]], *, each: Each = map) -> list[StoreTrouble | None]:
        """The same for several, each for itself: what went wrong with which. `each` has them synced.

        Names are made last when all have theirs: a folder that several are in is synced once, and the first sync of
        all has most of the work.
        """
        found = list(each(self._synced, [temp for temp, _ in temps]))
        folders: dict[str, list[int]] = {}
        for at, (temp, digest) in enumerate(temps):
            if found[at] is None:
                try:
                    for folder in self._moved(temp, self._name(digest)):
                        folders.setdefault(folder, []).append(at)
                except StoreTrouble as exc:
                    found[at] = exc
        for those, trouble in zip(folders.values(), each(self._names_synced, list(folders)), strict=True):
            for at in those:
                found[at] = found[at] or trouble
        return [found[at] or self._lasting(digest) for at, (_, digest) in enumerate(temps)]

    def _synced(self, temp: Temp) -> StoreTrouble | None:
        try:
            temp.sync()
            self._disk.point("temp-synced", temp.path)
        except StoreTrouble as exc:
            return exc
        return None

    def _names_synced(self, folder: str) -> StoreTrouble | None:
        try:
            self._disk.sync_dir(folder)
        except StoreTrouble as exc:
            return exc
        return None

    def _moved(self, temp: Temp, target: str) -> list[str]:
        """Gives the temp a blob's name. The folders in which there are names that may not last yet."""
        folders = self._folders(target)
        new: list[str] = []
        if not self._disk.rename(temp.path, target):
            new = [outer for outer, folder in itertools.pairwise(folders) if self._disk.make_dir(folder)]
            if not self._disk.rename(temp.path, target):
                raise StoreTrouble(f"{self._disk.shown(temp.path)} is gone: was the store's tmp folder cleared?")
        self._disk.point("renamed", target)
        return [*new, folders[-1]]

    def _folders(self, target: str) -> list[str]:
        """Those on the way to a blob, the root first."""
        at = len(self._root)
        return [target[: at + 3 * level] for level in range(self._levels + 1)]

    def _lasting(self, digest: Sha256) -> StoreTrouble | None:
        try:
            self._disk.point("dir-synced", self._name(digest))
        except StoreTrouble as exc:
            return exc
        return None

    def open(self, digest: Sha256) -> int:
        """A descriptor for reading. Raises BlobDamaged where there is no such file, StoreTrouble."""
        fd = self._found(digest, self._disk.open_read)
        if fd is None:
            raise BlobDamaged(f"blob {digest} is missing")
        return fd

    def fstat(self, fd: int, digest: Sha256) -> os.stat_result:
        return self._disk.fstat(fd, self._name(digest))

    def stat(self, digest: Sha256) -> os.stat_result | None:
        """What the file system says of a blob; None where there is no such regular file."""
        found = self._found(digest, self._disk.lstat)
        return found if found is not None and stat.S_ISREG(found.st_mode) else None

    def is_sound(self, digest: Sha256) -> bool:
        """Whether the file is there and has its digest. Blocking: reads it all. Raises StoreTrouble."""
        path = self._name(digest)
        fd = self._found(digest, self._disk.open_read)
        if fd is None:
            return False
        try:
            return stat.S_ISREG(self._disk.fstat(fd, path).st_mode) and self._disk.sha256(fd, path) == digest
        except StoreTrouble as exc:
            if isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.EIO:
                log.warning("%s", exc)
                return False  # the disk has lost these bytes; asking again would not help
            raise
        finally:
            os.close(fd)

    def set_aside(self, digest: Sha256) -> Path | None:
        """Renames a blob into `tmp`, quickly however large it is; the caller unlinks it there. None: not there."""
        aside = self._temp_path()
        return self._found(digest, lambda name: aside if self._disk.rename(name, aside) else None)

    def unlink(self, aside: Path) -> None:
        """Takes away what `set_aside` gave."""
        self._disk.unlink(aside)
        self._disk.point("evict-unlinked", aside)

    def shards(self) -> set[str]:
        """The folders that blobs are spread over: the first two digits of their digests."""
        return {name for name in self._disk.names(self.root) if _SHARD.match(name)}

    def shard(self, name: str) -> Iterator[Sha256]:
        """The blobs whose digests begin with these two digits; files of other names are passed over."""
        folder = self.root / name
        for entry in self._disk.names(folder):
            if _SHARD.match(entry):
                yield from _digests(self._disk.names(folder / entry), name + entry)
            elif self._levels == 1:
                yield from _digests([entry], name)

    def walk(self) -> Iterator[Sha256]:
        """All blobs there are, whether or not any record knows them."""
        for name in sorted(self.shards()):
            yield from self.shard(name)

    def sweep(self) -> tuple[int, int]:
        """Takes away the temps that no living process holds. How many went, and how many foreign files were left."""
        swept = foreign = 0
        for name in self._disk.names(self.tmp):
            if not _TEMP.match(name):
                foreign += 1
                continue
            try:
                swept += self._sweep_one(self.tmp / name)
            except StoreTrouble as exc:
                # Something else under such a name, a folder or a link: it harms nobody.
                log.warning("left alone: %s", exc)
                foreign += 1
        return swept, foreign

    def _sweep_one(self, path: Path) -> bool:
        fd = self._disk.open_read(path)
        if fd is None:
            return False
        try:
            return self._disk.try_lock(fd, path) and self._disk.unlink(path)
        finally:
            os.close(fd)

    def _temp_path(self) -> Path:
        return self.tmp / f"{os.getpid()}.{uuid.uuid4().hex}"


def _digests(names: Iterable[str], beginning: str) -> Iterator[Sha256]:
    """Those of the names that are blobs' and begin as their folder says."""
    for name in names:
        try:
            digest = as_sha256(name)
        except BadName:
            continue
        if digest.startswith(beginning):
            yield digest
