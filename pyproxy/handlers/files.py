"""Files by their links: stored, arriving or beside another file (metadata, signature); ranges and validators."""

from __future__ import annotations

import os
from urllib.parse import unquote

from aiohttp import web

from pyproxy.arrival import HOLD_BACK, Arrival, Reader
from pyproxy.errors import FileUnknown, StoreTrouble
from pyproxy.handlers.conditions import Conditions, Verdict, verdict, wanted_range
from pyproxy.handlers.exchange import Exchange, Repeats
from pyproxy.handlers.fields import field
from pyproxy.handlers.guard import refusal
from pyproxy.handlers.ranges import ByteRange, Unsatisfiable, Whole, ranges_of, unsatisfied
from pyproxy.handlers.respond import head_only, part_of, parts_of, send_range, send_ranges, send_whole
from pyproxy.handlers.send import BROKEN, CLIENT_GONE, Outlet, cut
from pyproxy.index.protocol import Content, FileRef, OfferedFile
from pyproxy.model import as_filename, package_type
from pyproxy.site import Distribution
from pyproxy.storage.cache import OpenBlob

LASTING = "public, max-age=365000000, immutable"
"""For bytes that are named by a digest: they will never be others."""

PASSING = "max-age=600"
"""For bytes that no digest names: the remote may put others there."""

LASTS = 1.0
"""Seconds that an answer stands unasked: its use is to be noted now and then, and damage to a blob to be found."""

LOCAL = "local"
"""The source of what was uploaded, which no cache evicts."""

METADATA = ".metadata"
SIGNATURE = ".asc"


async def file(exchange: Exchange, distribution: Distribution, source: str, path: str) -> web.StreamResponse:
    """`/files/{source}{path}`, both as they stand in the request. A companion is named by its ending."""
    where = unquote(path)
    last = where.rpartition("/")[2]
    companion = ""
    for ending in (METADATA, SIGNATURE):
        if last.endswith(ending) and package_type(last.removesuffix(ending)) is not None:
            companion = ending
    ref = FileRef(unquote(source), where.removesuffix(companion), as_filename(last.removesuffix(companion)))
    if ref.source != LOCAL:
        exchange.cache_stamp = exchange.site.cache_stamp()
    offered = await distribution.index.file(ref)
    asked = _conditions(exchange.request)
    exchange.repeats = Repeats(LASTS, offered.project)
    if not companion and (answer := await _without_bytes(exchange, offered, asked)) is not None:
        return answer
    match companion:
        case ".metadata":
            content = await offered.metadata()
        case ".asc":
            content = await offered.signature()
        case _:
            content = await offered.archive()
    exchange.result = content.result
    headers = _headers(exchange, content.etag, lasting=content.lasting, companion=companion)
    return await _send(exchange, content, asked, headers)


async def _without_bytes(exchange: Exchange, offered: OfferedFile, asked: Conditions) -> web.StreamResponse | None:
    """What needs no download where the file is not stored: HEAD, and a 304 for a validator known from the page."""
    if not exchange.is_head and asked.if_none_match is None and asked.if_match is None:
        return None
    facts = await offered.facts(size=False)
    headers = _headers(exchange, facts.etag, lasting=facts.lasting, companion="")
    exchange.result = "hit" if facts.stored else "miss"
    if facts.etag is not None and (refused := _precondition(asked, facts.etag, headers)) is not None:
        return refused
    if not exchange.is_head:
        return None
    if facts.size is None:
        facts = await offered.facts(size=True)
    return head_only(200, facts.size, headers)


async def _send(exchange: Exchange, content: Content, asked: Conditions, headers: dict[str, str]) -> web.StreamResponse:
    if content.blob is not None:
        exchange.cached = content.blob.digest if exchange.cache_stamp is not None else None
        try:
            return await _send_blob(exchange, content.blob, asked, headers)
        finally:
            content.blob.close()
    if content.arrival is not None:
        with content.arrival.reading() as reader:
            return await _send_arrival(exchange, content.arrival, reader, asked, headers)
    if content.body is None:
        raise FileUnknown("there are no bytes of it")
    return await _send_body(exchange, content.body, asked, headers)


async def _send_body(exchange: Exchange, body: bytes, asked: Conditions, headers: dict[str, str]) -> web.StreamResponse:
    etag = headers.get("ETag", "")
    if (refused := _precondition(asked, etag, headers)) is not None:
        return refused
    ranges = ranges_of(wanted_range(asked, etag=etag), len(body))
    if exchange.is_head or isinstance(ranges, Whole):
        return web.Response(body=body, headers=headers)
    if isinstance(ranges, Unsatisfiable):
        return _unsatisfiable(len(body))
    if len(ranges) == 1:
        return part_of(body, ranges[0], headers)
    return parts_of(body, ranges, headers)


async def _send_blob(
    exchange: Exchange, blob: OpenBlob, asked: Conditions, headers: dict[str, str]
) -> web.StreamResponse:
    etag = headers.get("ETag", "")
    if (refused := _precondition(asked, etag, headers)) is not None:
        return refused
    ranges = ranges_of(wanted_range(asked, etag=etag), blob.size)
    if exchange.is_head or isinstance(ranges, Whole):
        return await send_whole(exchange, blob.fd, blob.size, headers)
    if isinstance(ranges, Unsatisfiable):
        return _unsatisfiable(blob.size)
    if len(ranges) == 1:
        return await send_range(exchange, blob.fd, blob.size, ranges[0], headers)
    return await send_ranges(exchange, blob.fd, blob.size, ranges, headers, blob.digest)


async def _send_arrival(
    exchange: Exchange, arrival: Arrival, reader: Reader, asked: Conditions, headers: dict[str, str]
) -> web.StreamResponse:
    """Tails the download. One range is sent as it comes; several wait for the whole."""
    await arrival.head()
    total = arrival.total
    part: ByteRange | None = None
    if total is not None:
        ranges = ranges_of(wanted_range(asked, etag=headers.get("ETag")), total)
        if isinstance(ranges, Unsatisfiable):
            return _unsatisfiable(total)
        if not isinstance(ranges, Whole):
            if len(ranges) > 1:
                return await _ranges_of_arrival(exchange, arrival, ranges, headers)
            part = ranges[0]
    if (body := arrival.body) is not None:
        await arrival.whole()
        return _from_memory(exchange, body, part, headers)
    if total is not None and total <= HOLD_BACK:
        # A short file waits for the verdict on the whole: so a wrong one is a clear 502 and not a broken body. A short
        # part of a long one does not: where the disk is full, its bytes would be gone by then.
        await arrival.whole()
    return await _tailing(exchange, arrival, reader, part, headers)


async def _tailing(
    exchange: Exchange, arrival: Arrival, reader: Reader, part: ByteRange | None, headers: dict[str, str]
) -> web.StreamResponse:
    total = arrival.total
    status = 200
    if part is not None:
        status = 206
        headers = {**headers, "Content-Range": part.content_range(total or 0)}
    response = web.StreamResponse(status=status, headers=headers)
    length = part.length if part is not None else total
    if length is not None:
        response.content_length = length
    elif exchange.request.version < (1, 1):
        response.force_close()
    else:
        response.enable_chunked_encoding()
    await response.prepare(exchange.request)
    outlet = Outlet(exchange.request, response)
    start, end = (part.start, part.stop) if part is not None else (0, total)
    try:
        await outlet.from_arrival(arrival, reader, start, end, chunked=length is None)
    except BROKEN as exc:
        if not isinstance(exc, CLIENT_GONE):
            exchange.result = "error"
        cut(exchange.request)
        raise ConnectionResetError(str(exc)) from exc
    finally:
        exchange.sent = outlet.sent
    await response.write_eof()
    return response


def _from_memory(
    exchange: Exchange, body: bytes, part: ByteRange | None, headers: dict[str, str]
) -> web.StreamResponse:
    """A small file in one piece with its head."""
    exchange.repeats = None  # the next one comes from the blob, whose uses are noted
    if part is None:
        return web.Response(body=body, headers=headers)
    return part_of(body, part, headers)


async def _ranges_of_arrival(
    exchange: Exchange, arrival: Arrival, ranges: tuple[ByteRange, ...], headers: dict[str, str]
) -> web.StreamResponse:
    landed = await arrival.whole()
    fd = arrival.spool.opened() if arrival.spool is not None else None
    if fd is None:
        raise StoreTrouble(f"{arrival.name} cannot be kept, so it has no ranges")
    try:
        return await send_ranges(exchange, fd, landed.size, ranges, headers, landed.digest)
    finally:
        os.close(fd)


def _headers(exchange: Exchange, etag: str | None, *, lasting: bool, companion: str) -> dict[str, str]:
    headers = {
        "Content-Type": "text/plain; charset=utf-8" if companion else "application/octet-stream",
        "Cache-Control": exchange.kept_by(LASTING if lasting else PASSING),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }
    if etag is not None:
        headers["ETag"] = etag
    return headers


def _conditions(request: web.BaseRequest) -> Conditions:
    return Conditions(
        if_match=field(request, "If-Match"),
        if_none_match=field(request, "If-None-Match"),
        if_range=field(request, "If-Range"),
        range=field(request, "Range") if request.method == "GET" else None,
    )


def _precondition(asked: Conditions, etag: str, headers: dict[str, str]) -> web.StreamResponse | None:
    match verdict(asked, etag=etag):
        case Verdict.NOT_MODIFIED:
            return web.Response(status=304, headers=headers)
        case Verdict.FAILED:
            return refusal(412, "the file is not the one that If-Match names")
        case Verdict.SEND:
            return None


def _unsatisfiable(size: int) -> web.StreamResponse:
    return refusal(416, f"the file has {size} bytes", {"Content-Range": unsatisfied(size)})
