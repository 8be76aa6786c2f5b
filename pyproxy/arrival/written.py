"""Bytes of a download hashed and written: those at hand and, in a thread, those that come meanwhile. May block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from pyproxy.errors import StoreTrouble
from pyproxy.storage.spool import Spool

Data: TypeAlias = bytes | memoryview

AT_ONCE: Final = 8 << 20
"""Bytes of a file that comes fast which one stay of a thread takes: some 10 ms; one for each MiB cost a tenth more."""


class Written(NamedTuple):
    """How many bytes are in the file; and what was hashed and the disk refused, with its reason."""

    nbytes: int
    refused: Data = b""
    why: StoreTrouble | None = None


def hash_and_write(hash_: Callable[[Data], None], spool: Spool, data: Data, more: Callable[[], Data]) -> Written:
    """`more` gives what has come by now and shall be taken too; nothing where there is none."""
    nbytes = 0
    while data:
        hash_(data)
        try:
            spool.write(data)
        except StoreTrouble as exc:
            return Written(nbytes, data, exc)
        nbytes += len(data)
        data = more()
    return Written(nbytes)


def no_more() -> Data:
    """For bytes that are few: the loop sees to the next."""
    return b""
