"""Core metadata out of a wheel: the exact bytes of its METADATA member, from a whole file or by range reads.

The archive is read by our own bounded code (APPNOTE.TXT 6.3.10), because `zipfile` reads a central directory of any
size, inflates without a limit and cannot wait for a network. What is ambiguous is refused: no two readers of one
archive may see two metadata. Nothing is ever extracted.
"""

from __future__ import annotations

import asyncio
import io
import re
import struct
import zlib
from collections.abc import Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final, TypeAlias

from packaging.version import InvalidVersion, Version

from pyproxy.errors import MetadataUnreadable
from pyproxy.model import Filename, normalised, printable

METADATA_LIMIT: Final = 4 << 20
"""Bytes of METADATA after inflation. The largest ones seen hold a whole changelog and stay below 1 MiB."""

DIRECTORY_LIMIT: Final = 32 << 20
"""Bytes of central directory."""

MEMBERS_LIMIT: Final = 200_000
"""Members of an archive."""

# The longest comment (65,535 bytes), the records behind the directory and a little more: the first read always holds
# the end record, wherever it is, and for most wheels everything.
_TAIL: Final = 66 << 10
# METADATA mostly lies close before the directory (PEP 427 asks for that), with RECORD between, which holds one line for
# each of the directory's entries. Bytes are cheaper than another round trip.
_LEAD: Final = 64 << 10
# Local headers may carry more extra fields than central ones; with this much to spare one read is nearly always enough.
_SPARE: Final = 512

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL_LENGTHS = struct.Struct("<3H")
_FIELD = struct.Struct("<2H")

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

_Reading: TypeAlias = Generator[tuple[int, int], bytes, bytes]
"""Asks for (start, length), is sent those bytes, returns METADATA: the whole knowledge, without any I/O."""


def metadata_in(archive: BinaryIO, filename: Filename) -> bytes:
    """The METADATA of a wheel that is here as a whole, byte for byte.

    Blocks: reads the archive's end and the member, never the rest. Raises MetadataUnreadable; an OSError of the file
    passes through.
    """
    reading = _metadata(archive.seek(0, io.SEEK_END), filename)
    step = _step(reading, None)
    while not isinstance(step, bytes):
        start, length = step
        archive.seek(start)
        step = _step(reading, _read_up_to(archive, length))
    return step


async def metadata_by_ranges(read: Callable[[int, int], Awaitable[bytes]], size: int, filename: Filename) -> bytes:
    """The METADATA of a wheel of `size` bytes that lies elsewhere, byte for byte.

    `read(start, length)` is called once for most wheels, four times at the most. Raises MetadataUnreadable, also where
    `read` gives another number of bytes than it was asked for; what `read` itself raises passes through.
    """
    reading = _metadata(size, filename)
    step = _step(reading, None)
    while not isinstance(step, bytes):
        # In a thread: a directory at its bounds costs 0.3 s, METADATA 12 ms. Beside a request a hop is nothing.
        step = await asyncio.to_thread(_step, reading, await read(*step))
    return step


def _step(reading: _Reading, answer: bytes | None) -> tuple[int, int] | bytes:
    """The next wish, or METADATA. StopIteration ends here: it cannot come back from a thread."""
    try:
        return next(reading) if answer is None else reading.send(answer)
    except StopIteration as end:
        found: bytes = end.value
        return found


def _read_up_to(archive: BinaryIO, length: int) -> bytes:
    """A raw file may give less than asked for without being at its end."""
    pieces = []
    while length > 0 and (piece := archive.read(length)):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


# -- the archive, from its end


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the central directory lies in the file, and by how much all offsets are off (something in front of it)."""

    start: int
    length: int
    members: int
    shift: int


@dataclass(frozen=True, slots=True)
class _Member:
    """METADATA's entry in the central directory; `header` is where its local header lies in the file."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    header: int


def _metadata(size: int, filename: Filename) -> _Reading:
    """`end` is always the archive from `known` on; it grows to the front, and mostly holds METADATA by itself."""
    wanted = _Wanted.of(filename)
    length = size if size <= 2 * _TAIL else _TAIL
    if size < _END.size:
        raise MetadataUnreadable("not a zip archive: too short")
    end = yield from _ask(size - length, length)
    known = size - length
    directory = _find_directory(end, known)
    if directory.start < known:
        lead = max(0, directory.start - _LEAD - directory.length // 2)
        end = (yield from _ask(lead, known - lead)) + end
        known = lead
    at = directory.start - known
    member = _find_member(end[at : at + directory.length], directory, wanted)
    if member.header >= known:
        near = end[member.header - known : at]
    else:
        reach = _LOCAL.size + len(member.name) + _SPARE + member.packed
        near = yield from _ask(member.header, min(reach, directory.start - member.header))
    skip = _checked_header(near, member)
    if len(near) < skip + member.packed:
        if member.header + skip + member.packed > directory.start:
            raise MetadataUnreadable("METADATA reaches into the central directory")
        near += yield from _ask(member.header + len(near), skip + member.packed - len(near))
    return _inflated(near[skip : skip + member.packed], member)


def _ask(start: int, length: int) -> _Reading:
    answer = yield start, length
    if len(answer) != length:
        raise MetadataUnreadable(f"asked for {length} bytes of the archive, got {len(answer)}")
    return bytes(answer)


def _find_directory(end: bytes, known: int) -> _Directory:
    """From the archive's last bytes, which begin at `known`. As for zipfile, it ends where the end records begin."""
    at = _find_end(end)
    _, disk, first, here, members, length, offset, _ = _END.unpack_from(end, at)
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
    return _Directory(start, length, members, shift=start - offset)


def _find_end(end: bytes) -> int:
    """Where the end record begins: the one place whose comment ends with the file."""
    found = []
    at = end.rfind(b"PK\x05\x06")
    while at >= 0 and len(end) - at <= _END.size + _MAX16:
        if at + _END.size <= len(end) and _END.unpack_from(end, at)[-1] == len(end) - at - _END.size:
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


# -- the member


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The project and the version whose dist-info folder counts."""

    name: str
    version: str

    @classmethod
    def of(cls, filename: Filename) -> _Wanted:
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


def _find_member(directory: bytes, where: _Directory, wanted: _Wanted) -> _Member:
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


def _member(directory: bytes, at: int, where: _Directory) -> _Member:
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
    if disk not in (0, _MAX16) or header < 0 or header + _LOCAL.size + named + packed > where.start:
        raise MetadataUnreadable("METADATA lies outside the archive")
    return _Member(name, flags, method, crc, packed, size, header)


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


def _checked_header(near: bytes, member: _Member) -> int:
    """How many bytes stand before the data, once the local header says what the central one said."""
    if len(near) < _LOCAL.size or not near.startswith(b"PK\x03\x04"):
        raise MetadataUnreadable("METADATA's local header is damaged")
    _, _, flags, method, _, _, crc, packed, size, named, extras = _LOCAL.unpack_from(near)
    if near[_LOCAL.size : _LOCAL.size + named] != member.name or method != member.method:
        raise MetadataUnreadable("METADATA's two headers contradict each other")
    if flags & (_ENCRYPTED | _PATCHED):
        raise MetadataUnreadable("METADATA is encrypted")
    # Bit 3: the writer did not know them yet, and wrote them behind the data.
    if not flags & _DESCRIPTOR and (
        crc != member.crc or packed not in (member.packed, _MAX32) or size not in (member.size, _MAX32)
    ):
        raise MetadataUnreadable("METADATA's two headers contradict each other")
    data: int = _LOCAL.size + named + extras
    return data


def _inflated(packed: bytes, member: _Member) -> bytes:
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
