"""The members of a gzipped tar archive, read once from its first byte to its last, taken only if readers must agree.

POSIX.1-2017 pax and ustar, and GNU's long names. Readers of tar archives have differed over sizes told twice, over
chains of extended headers, and over what follows the end (CVE-2025-62518 and before): none of that is taken. tarfile
would read an extended header of any size into memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from pyproxy.model import printable
from pyproxy.upload.bounds import Budget
from pyproxy.upload.refusal import UploadRefused
from pyproxy.upload.tar_headers import BLOCK, Extended, Header, extended_by, header_of

_PIECE: Final = 1 << 18
_EXTENDED_LIMIT: Final = 1 << 16
_ZEROS: Final = bytes(BLOCK)

_EXTENDING: Final = {b"x", b"g", b"L", b"K"}


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file, a folder, or a link to `link`. `name` is as the archive has it, nothing checked."""

    name: str
    size: int
    folder: bool
    link: str | None
    hard: bool


class Tar:
    """An archive to be walked through once; while a member is at hand, its content can be read."""

    def __init__(self, archive: BinaryIO, budget: Budget) -> None:
        self._stream = _Inflated(archive, budget)
        self._budget = budget
        self._left = 0  # bytes of the member at hand that were not read

    def members(self) -> Iterator[TarMember]:
        """Raises UploadRefused, to the last byte of the archive."""
        extended, awaited = Extended(), False
        while (block := self._stream.take(BLOCK)) != _ZEROS:
            if len(block) < BLOCK:
                raise UploadRefused("the tar archive is cut")
            header = header_of(block)
            if header.kind in _EXTENDING:
                # Each costs as much as a member.
                self._budget.one_more()
                extended, awaited = extended_by(extended, header, self._extension(header)), True
                continue
            self._budget.one_more()
            yield self._member(header, extended)
            self._pass_by()
            extended, awaited = Extended(), False
        if awaited:
            raise UploadRefused("the tar archive ends behind an extended header")
        self._stream.end()

    def content(self, limit: int) -> bytes:
        """What the member at hand holds. Raises UploadRefused."""
        if self._left > limit:
            raise UploadRefused(f"a member that is read is larger than {limit >> 10} KiB")
        size = self._left
        body = self._stream.take(_padded(size))
        self._left = 0
        if len(body) < size:
            raise UploadRefused("the tar archive is cut")
        return body[:size]

    def _member(self, header: Header, extended: Extended) -> TarMember:
        name = header.name if extended.path is None else extended.path
        link = header.link if extended.link is None else extended.link
        if extended.size not in {None, header.size}:
            raise UploadRefused(f"{printable(name)} has two sizes")
        # Before ustar a folder was a file with a slash at its end.
        folder = header.kind == b"5" or (header.kind == b"\0" and name.endswith("/"))
        linked = header.kind in {b"1", b"2"}
        if not folder and name.endswith("/"):
            raise UploadRefused(f"{printable(name)} is not the folder that it claims to be")
        if not (folder or linked or header.kind in {b"0", b"\0"}):
            raise UploadRefused(f"{printable(name)} is a device, or of a kind that is not taken")
        if header.size and (folder or linked):
            raise UploadRefused(f"{printable(name)} is a folder or a link with content")
        self._budget.foresee(inflated=header.size)
        self._left = header.size
        return TarMember(name, header.size, folder, link if linked else None, header.kind == b"1")

    def _extension(self, header: Header) -> bytes:
        if header.size > _EXTENDED_LIMIT:
            raise UploadRefused("an extended header of the tar archive is too large")
        body = self._stream.take(_padded(header.size))
        if len(body) < header.size:
            raise UploadRefused("the tar archive is cut")
        if any(body[header.size :]):
            # tarfile takes it for a record, or for more of a name.
            raise UploadRefused("an extended header of the tar archive has something behind its end")
        return body[: header.size]

    def _pass_by(self) -> None:
        if self._left:
            self._stream.skip(_padded(self._left))
            self._left = 0


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


class _Inflated:
    """The bytes of a gzip stream, which is one member and the whole file."""

    def __init__(self, archive: BinaryIO, budget: Budget) -> None:
        archive.seek(0)
        self._archive = archive
        self._budget = budget
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._held = b""
        self._at = 0

    def take(self, nbytes: int) -> bytes:
        """So many bytes, fewer only at the end."""
        parts = []
        while nbytes and self._fill():
            part = self._held[self._at : self._at + nbytes]
            self._at += len(part)
            nbytes -= len(part)
            parts.append(part)
        return b"".join(parts)

    def skip(self, nbytes: int) -> None:
        while nbytes:
            if not self._fill():
                raise UploadRefused("the tar archive is cut")
            step = min(nbytes, len(self._held) - self._at)
            self._at += step
            nbytes -= step

    def end(self) -> None:
        """Refuses anything but zeros, by which tar fills its last record."""
        while self._fill():
            if self._held.count(0, self._at) != len(self._held) - self._at:
                raise UploadRefused("the tar archive has something behind its end")
            self._at = len(self._held)

    def _fill(self) -> bool:
        """Whether any bytes are held. Raises UploadRefused."""
        while self._at == len(self._held):
            if self._inflate.eof:
                if self._inflate.unused_data or self._archive.read(1):
                    raise UploadRefused("the archive has something behind its end")
                return False
            packed = self._inflate.unconsumed_tail or self._archive.read(_PIECE)
            try:
                self._held = self._inflate.decompress(packed, _PIECE)
            except zlib.error as exc:
                raise UploadRefused("not a gzip archive, or a damaged one") from exc
            self._at = 0
            if not packed and not self._held and not self._inflate.eof:
                raise UploadRefused("the archive is cut")
            self._budget.spend(len(self._held))
        return True
