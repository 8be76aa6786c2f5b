"""METADATA's entry in a wheel's central directory, its local header, and its bytes out of what is packed."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from packaging.version import InvalidVersion, Version

from pyproxy.errors import MetadataUnreadable
from pyproxy.model import Filename, normalised, printable
from pyproxy.wheel.directory import MEMBERS_LIMIT, Directory

METADATA_LIMIT: Final = 4 << 20
"""Bytes of METADATA after inflation. The largest ones seen hold a whole changelog and stay below 1 MiB."""

LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_CENTRAL_LENGTHS: Final = struct.Struct("<3H")
_FIELD: Final = struct.Struct("<2H")

_ENCRYPTED: Final = 0x0001 | 0x0040 | 0x2000
_PATCHED: Final = 0x0020
_DESCRIPTOR: Final = 0x0008
_STORED: Final = 0
_DEFLATED: Final = 8
_MAX32: Final = 0xFFFFFFFF
_MAX16: Final = 0xFFFF

# Installers refuse a wheel with a foreign dist-info folder; a few do no harm here, but each costs a look.
_FOLDERS: Final = 100

# A file name holds name and version in 255 characters; a folder's may have some more dashes.
_NAME_LENGTH: Final = 400

_INFO: Final = b".dist-info"
_UNSAFE = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True, slots=True)
class Member:
    """METADATA's entry in the central directory; `header` is where its local header lies in the file."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """The project and the version whose dist-info folder counts."""

    name: str
    version: str

    @classmethod
    def of(cls, filename: Filename) -> Wanted:
        parts = filename.removesuffix(".whl").split("-")
        if not filename.endswith(".whl") or len(parts) not in (5, 6) or not all(parts):
            raise MetadataUnreadable(f"not a wheel's file name: {printable(filename)}")
        return cls(normalised(parts[0]), parts[1])

    def is_folder(self, folder: str) -> bool:
        """Whether the folder belongs to the wheel. Old tools kept case and dashes, so the name may end at any dash."""
        stem = folder.removesuffix(_INFO.decode())
        if len(stem) > _NAME_LENGTH or not normalised(stem).startswith(self.name + "-"):
            return False
        dashes = [at for at, char in enumerate(stem) if char == "-"]
        return any(normalised(stem[:at]) == self.name and _same_version(stem[at + 1 :], self.version) for at in dashes)


def _same_version(one: str, other: str) -> bool:
    try:
        if Version(one) == Version(other):
            return True
    except InvalidVersion:
        pass  # Not an error: versions from before PEP 440 are compared as the wheel tools wrote them.
    return _UNSAFE.sub("_", one).lower() == _UNSAFE.sub("_", other).lower()


def find_member(directory: bytes, where: Directory, wanted: Wanted) -> Member:
    """METADATA's entry. The whole directory is walked: a second one further on would be another truth."""
    folders: dict[bytes, bool] = {}  # each top-level dist-info folder, and whether it is this wheel's
    found: list[int] = []
    members = 0
    for members, (at, name) in enumerate(islice(_entries(directory), MEMBERS_LIMIT + 1), 1):  # noqa: B007 -- wanted below
        folder, slash, rest = name.partition(b"/")
        if slash and folder.endswith(_INFO):
            if folder not in folders:
                folders[folder] = wanted.is_folder(folder.decode("latin-1"))
            if len(folders) > _FOLDERS:
                raise MetadataUnreadable("too many dist-info folders")
            if folders[folder] and rest == b"METADATA":
                found.append(at)
    # Tools without zip64 let the 16 bits overflow; the end record is then right in its own way.
    if members > MEMBERS_LIMIT or members & _MAX16 != where.members & _MAX16 or members < where.members:
        raise MetadataUnreadable("the central directory has another number of members than its end record says")
    if not found:
        raise MetadataUnreadable(f"no METADATA in a dist-info folder of {wanted.name} {printable(wanted.version)}")
    if len(found) > 1 or sum(folders.values()) > 1:
        raise MetadataUnreadable("METADATA or its dist-info folder is there twice")
    return _member(directory, found[0], where)


def _entries(directory: bytes) -> Iterator[tuple[int, bytes]]:
    """Where each entry begins, and its name."""
    at = 0
    while at < len(directory):
        begin = at + _CENTRAL.size
        if begin > len(directory) or not directory.startswith(b"PK\x01\x02", at):
            raise MetadataUnreadable("the central directory is damaged")
        named, extra, comment = _CENTRAL_LENGTHS.unpack_from(directory, at + 28)
        name = directory[begin : begin + named]
        # zipfile ends a name at its first NUL; newer ones take the name from an extra field (0x7075).
        if b"\0" in name or (extra and b"METADATA" in directory[begin + named : begin + named + extra]):
            raise MetadataUnreadable("a member has two names")
        yield at, name
        at = begin + named + extra + comment
    if at != len(directory):
        raise MetadataUnreadable("the central directory is cut")


def _member(directory: bytes, at: int, where: Directory) -> Member:
    entry = _CENTRAL.unpack_from(directory, at)
    _, _, _, flags, method, _, _, crc, packed, size, named, extras, _, disk, _, _, offset = entry
    begin = at + _CENTRAL.size
    name = directory[begin : begin + named]
    extra = directory[begin + named : begin + named + extras]
    if _MAX32 in (packed, size, offset):
        size, packed, offset = _wide(extra, size, packed, offset)
    if flags & (_ENCRYPTED | _PATCHED):
        raise MetadataUnreadable("METADATA is encrypted")
    if method not in (_STORED, _DEFLATED):
        raise MetadataUnreadable(f"METADATA is compressed by method {method}; only stored and deflated are read")
    # Deflate adds five bytes to 16 KiB that it cannot make smaller; more than that is padding.
    if size > METADATA_LIMIT or packed > METADATA_LIMIT + METADATA_LIMIT // 1024:
        raise MetadataUnreadable(f"METADATA is larger than {METADATA_LIMIT >> 20} MiB")
    header = offset + where.shift
    if disk not in (0, _MAX16) or header < 0 or header + LOCAL.size + named + packed > where.start:
        raise MetadataUnreadable("METADATA lies outside the archive")
    return Member(name, flags, method, crc, packed, size, header)


def _wide(extra: bytes, *values: int) -> list[int]:
    """The values, those that are all ones taken from the zip64 field in this order (APPNOTE 4.5.3)."""
    at = 0
    while at + _FIELD.size <= len(extra):
        kind, length = _FIELD.unpack_from(extra, at)
        body = extra[at + _FIELD.size : at + _FIELD.size + length]
        if kind == 1 and len(body) >= 8 * values.count(_MAX32):
            rest = iter(int.from_bytes(body[i : i + 8], "little") for i in range(0, len(body), 8))
            return [next(rest) if value == _MAX32 else value for value in values]
        at += _FIELD.size + length
    raise MetadataUnreadable("METADATA's zip64 field is missing")


def checked_header(near: bytes, member: Member) -> int:
    """How many bytes stand before the data, once the local header says what the central one said."""
    if len(near) < LOCAL.size or not near.startswith(b"PK\x03\x04"):
        raise MetadataUnreadable("METADATA's local header is damaged")
    _, _, flags, method, _, _, crc, packed, size, named, extras = LOCAL.unpack_from(near)
    if near[LOCAL.size : LOCAL.size + named] != member.name or method != member.method:
        raise MetadataUnreadable("METADATA's two headers contradict each other")
    if flags & (_ENCRYPTED | _PATCHED):
        raise MetadataUnreadable("METADATA is encrypted")
    # Bit 3: the writer did not know them yet, and wrote them behind the data.
    if not flags & _DESCRIPTOR and (
        crc != member.crc or packed not in (member.packed, _MAX32) or size not in (member.size, _MAX32)
    ):
        raise MetadataUnreadable("METADATA's two headers contradict each other")
    data: int = LOCAL.size + named + extras
    return data


def inflated(packed: bytes, member: Member) -> bytes:
    body = packed
    if member.method == _DEFLATED:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            # One byte more than promised is enough to know, and the bound on memory.
            body = inflate.decompress(packed, member.size + 1)
        except zlib.error as exc:
            raise MetadataUnreadable("METADATA's compressed data is damaged") from exc
        if not inflate.eof or inflate.unused_data:
            raise MetadataUnreadable("METADATA's compressed data is not as long as promised")
    if len(body) != member.size:
        raise MetadataUnreadable("METADATA is not as long as promised")
    if zlib.crc32(body) != member.crc:
        raise MetadataUnreadable("METADATA fails its CRC-32")
    return body
