"""Answers that carry the bytes of a descriptor: whole, a range, several ranges, or the head alone."""

from __future__ import annotations

import os

from aiohttp import web

from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.ranges import ByteRange, multipart
from pyproxy.handlers.send import Outlet, cut
from pyproxy.model import Sha256

SMALL = 64 * 1024
"""Bytes up to which a body is read and written with its head: one call to the kernel instead of four."""


async def send_whole(exchange: Exchange, fd: int, size: int, headers: dict[str, str]) -> web.StreamResponse:
    """200 with all of the file."""
    if exchange.is_head:
        return head_only(200, size, headers)
    if size <= SMALL:
        exchange.sent = size
        return web.Response(body=os.pread(fd, size, 0), headers=headers)
    return await _stream(exchange, 200, size, headers, fd, [(b"", ByteRange(0, size))], b"")


async def send_range(
    exchange: Exchange, fd: int, size: int, part: ByteRange, headers: dict[str, str]
) -> web.StreamResponse:
    """206 with one range."""
    headers = {**headers, "Content-Range": part.content_range(size)}
    if part.length <= SMALL:
        exchange.sent = part.length
        return web.Response(status=206, body=os.pread(fd, part.length, part.start), headers=headers)
    return await _stream(exchange, 206, part.length, headers, fd, [(b"", part)], b"")


async def send_ranges(
    exchange: Exchange, fd: int, size: int, parts: tuple[ByteRange, ...], headers: dict[str, str], digest: Sha256
) -> web.StreamResponse:
    """206 with several ranges as multipart/byteranges (RFC 9110 §14.6)."""
    layout = multipart(parts, size, content_type=headers["Content-Type"], digest=digest)
    headers = {**headers, "Content-Type": layout.content_type}
    pieces = list(zip(layout.heads, parts, strict=True))
    return await _stream(exchange, 206, layout.length, headers, fd, pieces, layout.tail)


def head_only(status: int, size: int | None, headers: dict[str, str]) -> web.StreamResponse:
    """The head of a GET without its body; `size` None where only the body would tell."""
    response = web.StreamResponse(status=status, headers=headers)
    if size is not None:
        response.content_length = size
    return response


async def _stream(
    exchange: Exchange,
    status: int,
    length: int,
    headers: dict[str, str],
    fd: int,
    pieces: list[tuple[bytes, ByteRange]],
    tail: bytes,
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
    except (ConnectionError, OSError):
        cut(exchange.request)
        raise
    finally:
        exchange.sent = outlet.sent
    await response.write_eof()
    return response
