"""Answers that carry the bytes of a descriptor: whole, a range, several ranges, or the head alone."""

from __future__ import annotations

import contextlib
import hashlib
import os

from aiohttp import web

from pyproxy.errors import BlobDamaged, StoreTrouble
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.ranges import ByteRange, multipart
from pyproxy.handlers.send import BROKEN, CLIENT_GONE, Outlet, cut
from pyproxy.model import Sha256
from pyproxy.part import Descriptor, Part
from pyproxy.storage.temps import close

SMALL = 64 * 1024
"""Bytes up to which a body is read and written with its head: one call to the kernel instead of four."""


async def send_whole(exchange: Exchange, fd: int, size: int, headers: dict[str, str]) -> web.StreamResponse:
    """200 with all of the file."""
    if exchange.is_head:
        return head_only(200, size, headers)
    if size <= SMALL:
        return web.Response(body=_read(fd, 0, size), headers=headers)
    return await _stream(exchange, fd, [(b"", ByteRange(0, size))], status=200, length=size, headers=headers)


async def send_range(
    exchange: Exchange, fd: int, size: int, part: ByteRange, headers: dict[str, str]
) -> web.StreamResponse:
    """206 with one range."""
    headers = {**headers, "Content-Range": part.content_range(size)}
    if part.length <= SMALL:
        return web.Response(status=206, body=_read(fd, part.start, part.length), headers=headers)
    return await _stream(exchange, fd, [(b"", part)], status=206, length=part.length, headers=headers)


async def send_ranges(  # noqa: PLR0917 - as its siblings, and the digest
    exchange: Exchange, fd: int, size: int, parts: tuple[ByteRange, ...], headers: dict[str, str], digest: Sha256
) -> web.StreamResponse:
    """206 with several ranges as multipart/byteranges (RFC 9110 §14.6)."""
    layout = multipart(parts, size, content_type=headers["Content-Type"], digest=digest)
    headers = {**headers, "Content-Type": layout.content_type}
    pieces = list(zip(layout.heads, parts, strict=True))
    return await _stream(exchange, fd, pieces, layout.tail, status=206, length=layout.length, headers=headers)


def part_of(body: bytes, part: ByteRange, headers: dict[str, str]) -> web.StreamResponse:
    """206 with one range of what is in memory."""
    headers = {**headers, "Content-Range": part.content_range(len(body))}
    return web.Response(status=206, body=body[part.start : part.stop], headers=headers)


def parts_of(body: bytes, parts: tuple[ByteRange, ...], headers: dict[str, str]) -> web.StreamResponse:
    """206 with several ranges of what is in memory, as `send_ranges` of a file."""
    digest = Sha256(hashlib.sha256(body).hexdigest())
    layout = multipart(parts, len(body), content_type=headers["Content-Type"], digest=digest)
    pieces = zip(layout.heads, parts, strict=True)
    whole = b"".join(head + body[part.start : part.stop] for head, part in pieces) + layout.tail
    return web.Response(status=206, body=whole, headers={**headers, "Content-Type": layout.content_type})


def head_only(status: int, size: int | None, headers: dict[str, str]) -> web.StreamResponse:
    """The head of a GET without its body; `size` None where only the body would tell."""
    response = web.StreamResponse(status=status, headers=headers)
    if size is not None:
        response.content_length = size
    return response


def _read(fd: int, start: int, length: int) -> bytes:
    """Raises BlobDamaged where the file has become shorter: what there is of it would pass for all of it."""
    try:
        body = os.pread(fd, length, start)
    except OSError as exc:
        raise StoreTrouble(f"cannot read a stored file: {exc.strerror}") from exc
    if len(body) != length:
        raise BlobDamaged("a stored file is shorter than it was")
    return body


async def _stream(
    exchange: Exchange,
    fd: int,
    pieces: list[tuple[bytes, ByteRange]],
    tail: bytes = b"",
    *,
    status: int,
    length: int,
    headers: dict[str, str],
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = length
    await response.prepare(exchange.request)
    outlet = Outlet(exchange.request, response)
    try:
        for head, part in pieces:
            if head:
                await outlet.bytes(head)
            await outlet.from_fd(fd, part.start, part.stop)
        if tail:
            await outlet.bytes(tail)
    except BROKEN as exc:
        if not isinstance(exc, CLIENT_GONE):
            exchange.result = "error"
        cut(exchange.request)
        raise ConnectionResetError(str(exc)) from exc
    finally:
        exchange.sent = outlet.sent
    if len(pieces) == 1 and not tail:
        _hold(exchange, fd, pieces[0][1])
    await response.write_eof()
    return response


def _hold(exchange: Exchange, fd: int, part: ByteRange) -> None:
    """Keeps the file open for those who ask for the same in the next second. Without a descriptor left nobody can."""
    if exchange.repeats is not None:
        with contextlib.suppress(OSError):
            exchange.part = Part(Descriptor(os.dup(fd), close), part.start, part.length)
