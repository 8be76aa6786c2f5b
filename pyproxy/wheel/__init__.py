"""Core metadata out of a wheel: the exact bytes of its METADATA member, from a whole file or by range reads.

The archive is read by our own bounded code (APPNOTE.TXT 6.3.10), because `zipfile` reads a central directory of any
size, inflates without a limit and cannot wait for a network. What is ambiguous is refused: no two readers of one
archive may see two metadata. Nothing is ever extracted.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Generator
from typing import BinaryIO, Final, TypeAlias

from pyproxy.errors import MetadataUnreadable
from pyproxy.model import Filename
from pyproxy.wheel.directory import END, find_directory
from pyproxy.wheel.member import LOCAL, Wanted, checked_header, find_member, inflated

# The longest comment (65,535 bytes), the records behind the directory and a little more: the first read always holds
# the end record, wherever it is, and for most wheels everything.
_TAIL: Final = 66 << 10
# METADATA mostly lies close before the directory (PEP 427 asks for that), with RECORD between, which holds one line for
# each of the directory's entries. Bytes are cheaper than another round trip.
_LEAD: Final = 64 << 10
# Local headers may carry more extra fields than central ones; with this much to spare one read is nearly always enough.
_SPARE: Final = 512

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


def _metadata(size: int, filename: Filename) -> _Reading:
    """`end` is always the archive from `known` on; it grows to the front, and mostly holds METADATA by itself."""
    wanted = Wanted.of(filename)
    length = size if size <= 2 * _TAIL else _TAIL
    if size < END.size:
        raise MetadataUnreadable("not a zip archive: too short")
    end = yield from _ask(size - length, length)
    known = size - length
    directory = find_directory(end, known)
    if directory.start < known:
        lead = max(0, directory.start - _LEAD - directory.length // 2)
        end = (yield from _ask(lead, known - lead)) + end
        known = lead
    at = directory.start - known
    member = find_member(end[at : at + directory.length], directory, wanted)
    if member.header >= known:
        near = end[member.header - known : at]
    else:
        reach = LOCAL.size + len(member.name) + _SPARE + member.packed
        near = yield from _ask(member.header, min(reach, directory.start - member.header))
    skip = checked_header(near, member)
    if len(near) < skip + member.packed:
        if member.header + skip + member.packed > directory.start:
            raise MetadataUnreadable("METADATA reaches into the central directory")
        near += yield from _ask(member.header + len(near), skip + member.packed - len(near))
    return inflated(near[skip : skip + member.packed], member)


def _ask(start: int, length: int) -> _Reading:
    answer = yield start, length
    if len(answer) != length:
        raise MetadataUnreadable(f"asked for {length} bytes of the archive, got {len(answer)}")
    return bytes(answer)
