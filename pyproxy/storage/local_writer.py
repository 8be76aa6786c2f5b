"""The writer of local content: nothing gives way when its index is full, and a full disk is told as one."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

import lmdb

from pyproxy.errors import StoreFull, StoreTrouble
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import Txn
from pyproxy.storage.local_env import LocalEnvironment
from pyproxy.storage.writer import Write, Writer

T = TypeVar("T")

NO_ROOM: Final = 1 << 20
"""Bytes left on a disk that count as none."""


class LocalWriter(Writer):
    """Runs writes for threads that may block."""

    def __init__(self, env: LocalEnvironment, disk: Disk) -> None:
        super().__init__(env, disk, relieve=_refuse)
        self._index: Path = env.path

    def call(self, run: Write[T]) -> T:
        """Runs and commits it. Raises what it raised, StoreFull or StoreTrouble."""
        try:
            return super().call(run)
        except StoreFull:
            raise
        except StoreTrouble as exc:
            # A disk that takes the half of a write is full, but LMDB tells of that as it does of a broken one.
            if isinstance(exc.__cause__, lmdb.Error) and self._disk.free(self._index) < NO_ROOM:
                raise StoreFull(f"{exc}: the disk is full") from exc
            raise


def _refuse(_: Txn) -> bool:
    raise StoreFull("the index of local content is full: pyproxy repo prune")
