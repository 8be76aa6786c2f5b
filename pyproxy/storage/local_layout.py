"""Where local content lies in a store, and who is in it.

    DATA/local/index/ · DATA/local/blobs/ab/cd/SHA256 and SHA256.TAG.json · DATA/local/tmp/ · DATA/local/open/

Each process that has it open keeps a locked file in `open`; the kernel lets go of the lock when the process dies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pyproxy.errors import StoreTrouble
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.disk import Disk, trouble
from pyproxy.storage.environment import DATA_FILE
from pyproxy.storage.recover import refuse_remote
from pyproxy.storage.temps import Temp

_PRESENCE: Final = re.compile(r"\d{1,10}\.[0-9a-f]{32}\Z")


class LocalLayout:
    """The folders of local content below one data folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.local = root / "local"
        self.index = self.local / "index"
        self.new_index = self.local / "index.new"
        self.blobs = self.local / "blobs"
        self.tmp = self.local / "tmp"
        self.open = self.local / "open"
        self.clean = self.local / "clean"

    def make(self, disk: Disk, environment: Mapping[str, str]) -> None:
        """Makes the folders unless they are there, but for the index's. Raises StoreTrouble."""
        refuse_remote(self.root, environment)
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise trouble(exc, f"cannot make the data folder {self.root}") from exc
        for folder in (self.local, self.blobs, self.tmp, self.open):
            disk.make_own_dir(folder)
        devices = {found.st_dev for path in (self.tmp, self.blobs) if (found := disk.lstat(path)) is not None}
        if len(devices) > 1:
            raise StoreTrouble(f"{self.tmp} and {self.blobs} must lie on one file system")

    def sync(self, disk: Disk) -> None:
        """Makes the folders last, with the index that was just made: whatever is acknowledged lies below them."""
        for folder in (self.index, self.local, self.root):
            disk.sync_dir(folder)

    def has_index(self, disk: Disk) -> bool:
        return disk.lstat(self.index / DATA_FILE) is not None


class Presence:
    """The sign that this process is in the store."""

    def __init__(self, layout: LocalLayout, disk: Disk) -> None:
        """Raises StoreFull, StoreTrouble."""
        self._disk = disk
        self._folder = layout.open
        self._signs = Blobs(disk, root=layout.open, tmp=layout.open)
        self._sign: Temp = self._signs.temp()
        try:
            self.alone = self.is_alone()
            """Whether nobody else was in the store when we came."""
            self.since_ns = disk.fstat(self._sign.fd, self._sign.path).st_mtime_ns
            """When that was, by the clock that stamps files."""
        except BaseException:
            self._sign.discard()
            raise

    def is_alone(self) -> bool:
        """Whether nobody else is in the store now. Raises StoreTrouble."""
        self._signs.sweep()
        others = set(self._disk.names(self._folder)) - {self._sign.path.name}
        return not any(map(_PRESENCE.match, others))

    def leave(self) -> None:
        self._sign.discard()
