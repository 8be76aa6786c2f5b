"""The small file beside a blob that says what a repository calls it: from these the index can be made again.

    blobs/ab/cd/SHA256.TAG.json       TAG tells apart the repositories and names that share one blob

One for each file name that was ever taken, never deleted: when the file has gone, it still says which bytes the name
stands for. Written as blobs are: temporary file, fsync, rename, fsync of the folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pyproxy.errors import BadName, BlobDamaged, StoreTrouble
from pyproxy.model import Filename, ProjectName, Sha256, as_filename, as_project, as_sha256
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.disk import Disk
from pyproxy.storage.local_rows import LocalFile, as_repository
from pyproxy.storage.temps import Temp

FORMAT: Final = 1

_NAME: Final = re.compile(r"([0-9a-f]{64})\.([0-9a-f]{32})\.json\Z")
_DIGEST: Final = 32
_LARGEST: Final = 64 << 20


class Sidecar(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of one file name of one repository.

    `highest`: no version above this had been made when it was written, but for those whose files have sidecars of
    their own that say more. `file` is absent where no version holds the file any more; `removed` means that the
    latest does not. `metadata` and `provenance` are the documents that the file's digests name.
    """

    format: int
    repository: str
    filename: Filename
    project: ProjectName
    sha256: Sha256
    highest: int
    removed: bool = False
    file: LocalFile | None = None
    metadata: bytes | None = None
    provenance: bytes | None = None

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


_decoder = msgspec.json.Decoder(Sidecar)


def decode(data: bytes) -> Sidecar:
    """Raises BlobDamaged for bytes that are no sidecar's, or say what no file can be."""
    try:
        found = _decoder.decode(data)
        as_repository(found.repository)
        as_filename(found.filename)
        as_sha256(found.sha256)
        sound = as_project(found.project) == found.project and found.format == FORMAT and found.highest >= 0
        file = found.file
        if file is not None:
            as_sha256(file.metadata or found.sha256)
            as_sha256(file.attestations or found.sha256)
            same = (file.filename, file.project, file.digest) == (found.filename, found.project, found.sha256)
            sound = sound and same and file.size >= 0
    except (msgspec.MsgspecError, BadName, UnicodeDecodeError) as exc:
        raise BlobDamaged("it cannot be read") from exc
    if not sound:
        raise BlobDamaged("what it says cannot be")
    return found


class Sidecars:
    """The sidecars beside the blobs, by key: the blob's digest and the tag. Knows no index."""

    def __init__(self, blobs: Blobs, disk: Disk) -> None:
        self._blobs = blobs
        self._disk = disk
        self._lasting: set[str] = set()  # folders whose names this process has synced; threads only ever add

    def make_folder(self, digest: Sha256) -> None:
        """The folder of a blob and its sidecars, made unless it is there, and sure to last. Blocking.

        Who finds it made syncs its name too: the one that made it may not have come to that yet, while what we put
        there is acknowledged. Raises StoreFull, StoreTrouble.
        """
        if digest[:4] in self._lasting:
            return
        leaf = self._blobs.path(digest).parent
        for name, folder in ((digest[:2], leaf.parent), (digest[:4], leaf)):
            if name not in self._lasting:
                self._disk.make_dir(folder)
                self._disk.sync_dir(folder.parent)
                self._lasting.add(name)

    def path(self, key: bytes) -> Path:
        digest = Sha256(key[:_DIGEST].hex())
        return self._blobs.path(digest).with_name(f"{digest}.{key[_DIGEST:].hex()}.json")

    def stands(self, key: bytes) -> bool:
        return self._disk.lstat(self.path(key)) is not None

    def read(self, key: bytes) -> bytes | None:
        """None where there is none. Raises StoreTrouble."""
        path = self.path(key)
        found = self._disk.lstat(path)
        return None if found is None else self._disk.read_all(path, min(found.st_size + 1, _LARGEST))

    def written(self, data: bytes) -> Temp:
        """A temporary file with these bytes, synced; `place` it. Raises StoreFull, StoreTrouble."""
        temp = self._blobs.temp()
        try:
            temp.write(data)
            temp.sync()
            self._disk.point("temp-synced", temp.path)
        except BaseException:
            temp.discard()
            raise
        return temp

    def place(self, temp: Temp, key: bytes) -> Path:
        """Gives the temporary file its name, over whatever was there; the folder that is yet to be synced.

        The folder must have been made. Raises StoreFull, StoreTrouble.
        """
        target = self.path(key)
        if not self._disk.rename(temp.path, target):
            raise StoreTrouble(f"{self._disk.shown(temp.path)} is gone: was the store's tmp folder cleared?")
        temp.moved()
        self._disk.point("renamed", target)
        return target.parent

    def sync(self, folder: Path) -> None:
        self._disk.sync_dir(folder)
        self._disk.point("dir-synced", folder)

    def remove(self, key: bytes) -> bool:
        """False where there was none."""
        return self._disk.unlink(self.path(key))

    def age(self, key: bytes) -> int | None:
        """When it was written, in nanoseconds since the epoch."""
        found = self._disk.lstat(self.path(key))
        return None if found is None else found.st_mtime_ns

    def shard(self, name: str) -> Iterator[bytes]:
        """The sidecars beside the blobs whose digests begin with these two digits."""
        folder = self._blobs.root / name
        for inner in self._disk.names(folder):
            for entry in self._disk.names(folder / inner):
                if (found := _NAME.match(entry)) is not None and found[1].startswith(name + inner):
                    yield bytes.fromhex(found[1] + found[2])

    def walk(self) -> Iterator[bytes]:
        for name in sorted(self._blobs.shards()):
            yield from self.shard(name)
