"""Where a wheel's central directory lies, told by the end records, which must not contradict each other."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pyproxy.errors import MetadataUnreadable

DIRECTORY_LIMIT: Final = 32 << 20
"""Bytes of central directory."""

MEMBERS_LIMIT: Final = 200_000
"""Members of an archive."""

END: Final = struct.Struct("<4s4H2LH")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_MAX32: Final = 0xFFFFFFFF
_MAX16: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the central directory lies in the file, and by how much all offsets are off (something in front of it)."""

    start: int
    length: int
    members: int
    shift: int


def find_directory(end: bytes, known: int) -> Directory:
    """From the archive's last bytes, which begin at `known`. As for zipfile, it ends where the end records begin."""
    at = _find_end(end)
    _, disk, first, here, members, length, offset, _ = END.unpack_from(end, at)
    if (disk, first) not in {(0, 0), (_MAX16, _MAX16), (0, _MAX16), (_MAX16, 0)} or here != members:
        raise MetadataUnreadable("the archive is one of several volumes")
    behind = at
    locator = at - _LOCATOR.size
    if locator >= 0 and end.startswith(b"PK\x06\x07", locator):
        behind, members64, length64, offset64 = _end64(end, locator)
        # APPNOTE 4.4.1.4: a field that does not fit is all ones; one that says something must say the same.
        if members not in (members64, _MAX16) or length not in (length64, _MAX32) or offset not in (offset64, _MAX32):
            raise MetadataUnreadable("the archive's two end records contradict each other")
        members, length, offset = members64, length64, offset64
    if length > DIRECTORY_LIMIT or members > MEMBERS_LIMIT:
        raise MetadataUnreadable(f"the central directory is too large: {members} members, {length} bytes")
    start = known + behind - length
    if start < 0:
        raise MetadataUnreadable("the central directory does not fit in front of its end record")
    return Directory(start, length, members, shift=start - offset)


def _find_end(end: bytes) -> int:
    """Where the end record begins: the one place whose comment ends with the file."""
    found = []
    at = end.rfind(b"PK\x05\x06")
    while at >= 0 and len(end) - at <= END.size + _MAX16:
        if at + END.size <= len(end) and END.unpack_from(end, at)[-1] == len(end) - at - END.size:
            found.append(at)
        at = end.rfind(b"PK\x05\x06", 0, at)
    if not found:
        raise MetadataUnreadable("not a zip archive, or cut, or with something behind its end")
    if len(found) > 1:
        raise MetadataUnreadable("the archive has two end records")
    return found[0]


def _end64(end: bytes, locator: int) -> tuple[int, int, int, int]:
    """Where the zip64 end record begins, and its members, length and offset of the directory."""
    _, disk, where, disks = _LOCATOR.unpack_from(end, locator)
    at = locator - _END64.size
    if disk != 0 or disks > 1:
        raise MetadataUnreadable("the archive is one of several volumes")
    if at < 0 or not end.startswith(b"PK\x06\x06", at):
        raise MetadataUnreadable("the archive's zip64 end record is missing")
    _, length, _, _, disk, first, here, members, nbytes, offset = _END64.unpack_from(end, at)
    if disk != 0 or first != 0 or here != members:
        raise MetadataUnreadable("the archive is one of several volumes")
    # The length counts what follows itself; the record follows the directory, wherever both were moved together.
    if length != _END64.size - 12 or where != offset + nbytes:
        raise MetadataUnreadable("the archive's zip64 end record is not where its locator says")
    return at, members, nbytes, offset
