"""The members of a zip archive, which is taken only if every reader of it must see the same ones.

Stricter than `pyproxy.wheel`, which reads what others have published: here the local headers, in one unbroken row from
the first byte, and the central directory behind them have to say the same (as the public index demands, and for its
reason: installers have read one archive differently). What the headers say is checked before anything is inflated,
and nothing is ever extracted.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from pyproxy.model import printable
from pyproxy.upload.bounds import Budget
from pyproxy.upload.members import Names, safe_path
from pyproxy.upload.refusal import UploadRefused
from pyproxy.upload.zip_end import Directory, find_directory, read_at
from pyproxy.upload.zip_fields import fields_of, own_name, wide_sizes

_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")

_ENCRYPTED: Final = 0x0001 | 0x0040 | 0x2000
_DESCRIPTOR: Final = 0x0008
_PATCHED: Final = 0x0020
_UTF8: Final = 0x0800
_STORED: Final = 0
_DEFLATED: Final = 8
_DOS_FOLDER: Final = 0x10
_NEWEST: Final = 63  # of the specification, times ten; readers stop at what needs a later one

_PIECE: Final = 1 << 18
_SPARE: Final = 64


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder of the archive; its packed bytes begin at `data`."""

    path: str
    folder: bool
    method: int
    crc: int
    packed: int
    size: int
    data: int


class Zip:
    """A sound archive. `members` are in the order of the file, found by their paths; names are safe, and unique."""

    def __init__(self, archive: BinaryIO, size: int, budget: Budget) -> None:
        """Reads all headers. Raises UploadRefused."""
        self._archive = archive
        self._budget = budget
        directory = find_directory(archive, size, budget)
        entries = sorted(_entries(archive, directory, budget), key=lambda entry: entry.offset)
        names = Names(folders_may_repeat=False)
        self.members: dict[str, Member] = {}
        at = 0
        for entry in entries:
            budget.check_time()
            member = _member(archive, entry, at, directory.start)
            names.add(member.path, folder=member.folder)
            self.members[member.path] = member
            at = member.data + member.packed
        if at != directory.start:
            raise UploadRefused("the archive has bytes that belong to no member")

    def pieces(self, member: Member) -> Iterator[bytes]:
        """The member's content, its length and its CRC-32 checked by the end. Raises UploadRefused."""
        crc = size = 0
        for piece in self._inflated(member):
            self._budget.check_time()  # its size was counted where its header was read
            crc = zlib.crc32(piece, crc)
            size += len(piece)
            yield piece
        if size != member.size or crc != member.crc:
            raise UploadRefused(f"{printable(member.path)} is not what the archive's headers say")

    def content(self, member: Member, limit: int) -> bytes:
        """Raises UploadRefused, also where there are more bytes than `limit`."""
        if member.size > limit:
            raise UploadRefused(f"{printable(member.path)} is larger than {limit >> 10} KiB")
        return b"".join(self.pieces(member))

    def _inflated(self, member: Member) -> Iterator[bytes]:
        at, end = member.data, member.data + member.packed
        if member.method == _STORED:
            while at < end:
                yield (piece := read_at(self._archive, at, min(_PIECE, end - at)))
                at += len(piece)
            return
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        left = member.size
        while not inflate.eof:
            packed = inflate.unconsumed_tail
            if not packed:
                packed = read_at(self._archive, at, min(_PIECE, end - at))
                at += len(packed)
            try:
                # One byte more than promised is enough to know.
                piece = inflate.decompress(packed, min(_PIECE, left + 1))
            except zlib.error as exc:
                raise UploadRefused(f"{printable(member.path)} is damaged") from exc
            left -= len(piece)
            if left < 0 or not (packed or piece):
                break
            yield piece
        if not inflate.eof or inflate.unused_data or at != end:
            raise UploadRefused(f"{printable(member.path)} is not as long as the archive's headers say")


# -- headers


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of the central directory, sound in itself."""

    raw: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    kind: int
    dos_folder: bool


def _entries(archive: BinaryIO, where: Directory, budget: Budget) -> Iterator[_Entry]:
    directory = read_at(archive, where.start, where.length)
    at = inflated = 0
    for _ in range(where.members):
        budget.one_more()
        if at + _CENTRAL.size > len(directory) or not directory.startswith(b"PK\x01\x02", at):
            raise UploadRefused("the archive's central directory is damaged")
        entry, at = _entry(directory, at)
        inflated += entry.size
        budget.foresee(inflated=inflated)
        yield entry
    if at != len(directory):
        raise UploadRefused("the archive's central directory has more entries than its end record says")


def _entry(directory: bytes, at: int) -> tuple[_Entry, int]:
    """The entry that begins at `at`, and where it ends."""
    values = _CENTRAL.unpack_from(directory, at)
    _, _, needed, flags, method, _, _, crc, packed, size, named, extras, comment, disk, _, attributes, offset = values
    at += _CENTRAL.size
    raw = directory[at : at + named]
    extra = directory[at + named : at + named + extras]
    if at + named + extras > len(directory) or comment or disk:
        raise UploadRefused("the archive's central directory is damaged, or holds comments")
    name = _decoded(raw, flags)
    if flags & (_ENCRYPTED | _PATCHED):
        raise UploadRefused(f"{printable(name)} is encrypted")
    if flags & _DESCRIPTOR:
        raise UploadRefused(f"{printable(name)} has its sizes behind it: write the archive to a file, not to a pipe")
    if method not in {_STORED, _DEFLATED} or needed > _NEWEST:
        raise UploadRefused(
            f"{printable(name)} is compressed by method {method} (version {needed}): only stored and deflated are taken"
        )
    fields = fields_of(extra)
    own_name(fields, raw)
    size, packed, offset = wide_sizes(fields, size, packed, offset)
    entry = _Entry(
        raw, name, flags, method, crc, packed, size, offset,
        kind=stat.S_IFMT(attributes >> 16), dos_folder=bool(attributes & _DOS_FOLDER),
    )  # fmt: skip
    return entry, at + named + extras


def _decoded(raw: bytes, flags: int) -> str:
    """APPNOTE, appendix D: without the flag a name is in IBM's code page 437, or whatever its writer had."""
    try:
        return raw.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError as exc:
        raise UploadRefused(f"a member's name is not UTF-8: {printable(raw.decode('latin-1'))}") from exc


def _member(archive: BinaryIO, entry: _Entry, at: int, end: int) -> Member:
    """The member whose local header must be at `at`, before `end`, and say what the central one says."""
    if entry.offset != at:
        raise UploadRefused(f"{printable(entry.name)} overlaps another member, or bytes lie before it")
    head = read_at(archive, at, min(_LOCAL.size + len(entry.raw) + _SPARE, end - at))
    if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
        raise UploadRefused(f"{printable(entry.name)} has no local header")
    _, _, flags, method, _, _, crc, packed, size, named, extras = _LOCAL.unpack_from(head)
    length = _LOCAL.size + named + extras
    if len(head) < length:
        head = read_at(archive, at, length)
    raw = head[_LOCAL.size : _LOCAL.size + named]
    fields = fields_of(head[_LOCAL.size + named : length])
    own_name(fields, entry.raw)
    if (raw, flags, method, crc) != (entry.raw, entry.flags, entry.method, entry.crc) or wide_sizes(
        fields, size, packed, both=(entry.size, entry.packed)
    ) != [entry.size, entry.packed]:
        raise UploadRefused(f"the two headers of {printable(entry.name)} contradict each other")
    return _shaped(entry, at + length)


def _shaped(entry: _Entry, data: int) -> Member:
    """A file or a folder, and nothing else."""
    folder = entry.name.endswith("/")
    path = safe_path(entry.name)
    if entry.kind not in {0, stat.S_IFDIR if folder else stat.S_IFREG} or (entry.dos_folder and not folder):
        raise UploadRefused(f"{printable(path)} is a link, a device, or not the folder that it claims to be")
    if folder and (entry.size or entry.crc):
        raise UploadRefused(f"{printable(path)} is a folder with content")
    if entry.method == _STORED and entry.packed != entry.size:
        raise UploadRefused(f"{printable(path)} is stored in another number of bytes than it has")
    return Member(path, folder, entry.method, entry.crc, entry.packed, entry.size, data)
