"""Where a zip archive's central directory lies, told by end records that leave no room for another opinion.

APPNOTE.TXT 6.3.10, less what it allows and no packaging tool writes: several volumes, something in front of the archive
or behind it, extensible data. Each of those lets two readers see two archives in one file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from pyproxy.upload.bounds import Budget
from pyproxy.upload.refusal import UploadRefused

_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_MAX16: Final = 0xFFFF
_MAX32: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Directory:
    """A central directory: where it begins, its bytes, its entries."""

    start: int
    length: int
    members: int


def find_directory(archive: BinaryIO, size: int, budget: Budget) -> Directory:
    """Raises UploadRefused."""
    reach = min(size, _END.size + _MAX16 + _LOCATOR.size + _END64.size)
    tail = read_at(archive, size - reach, reach)
    # What most readers take: the last one. With a comment that holds another they might not mean the same.
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise UploadRefused("not a zip archive, or a cut one")
    _, disk, first, here, members, length, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise UploadRefused("the archive has something behind its end")
    end = size - reach + at
    locator = at - _LOCATOR.size
    if locator >= 0 and tail.startswith(b"PK\x06\x07", locator):
        wide = _wide(tail, locator, size - reach)
        narrow = Directory(start, length, members)
        if not _agree(narrow, wide) or here != members or not {disk, first} <= {0, _MAX16}:
            raise UploadRefused("the archive's two end records contradict each other")
        end -= _LOCATOR.size + _END64.size
        directory = wide
    else:
        if disk or first or here != members:
            raise UploadRefused("the archive is one of several volumes")
        directory = Directory(start, length, members)
    if directory.start + directory.length != end:
        raise UploadRefused("the archive's central directory is not where its end record says")
    budget.foresee(members=directory.members)
    if directory.length > budget.bounds.directory:
        raise UploadRefused("the archive's central directory is too large", 413)
    return directory


def _wide(tail: bytes, locator: int, known: int) -> Directory:
    """What the zip64 end record says; it stands right before its locator."""
    _, disk, where, disks = _LOCATOR.unpack_from(tail, locator)
    at = locator - _END64.size
    if at < 0 or where != known + at or not tail.startswith(b"PK\x06\x06", at):
        raise UploadRefused("the archive's zip64 end record is not where its locator says")
    _, length, _, _, own_disk, first, here, members, nbytes, start = _END64.unpack_from(tail, at)
    if disk or disks != 1 or own_disk or first or here != members:
        raise UploadRefused("the archive is one of several volumes")
    if length != _END64.size - 12:  # the length does not count itself and the signature
        raise UploadRefused("the archive's zip64 end record is longer than it should be")
    return Directory(start, nbytes, members)


def _agree(narrow: Directory, wide: Directory) -> bool:
    """APPNOTE 4.4.1.4: a field that does not fit is all ones; one that says something says the same."""
    return (
        narrow.start in {wide.start, _MAX32}
        and narrow.length in {wide.length, _MAX32}
        and narrow.members in {wide.members, _MAX16}
    )


def read_at(archive: BinaryIO, start: int, length: int) -> bytes:
    """Raises UploadRefused where the file has not so many bytes there."""
    archive.seek(start)
    data = archive.read(max(length, 0))
    while data and len(data) < length:  # a raw file may give less than asked for
        more = archive.read(length - len(data))
        if not more:
            break
        data += more
    if len(data) != length:
        raise UploadRefused("the archive is cut")
    return data
