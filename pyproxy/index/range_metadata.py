"""Core metadata read out of a wheel that lies at the remote, by range requests."""

from __future__ import annotations

from http import HTTPStatus

from pyproxy.errors import MetadataUnreadable
from pyproxy.model import File
from pyproxy.upstream import Upstream
from pyproxy.wheel import metadata_by_ranges


class _NoRanges(Exception):
    """The remote answers a range request with the whole file."""


async def metadata_from_remote(upstream: Upstream, file: File) -> bytes | None:
    """The wheel's METADATA, or None where the remote does not do ranges.

    Raises MetadataUnreadable for a wheel without (readable) metadata, RemoteFailed, FileUnknown.
    """
    size = file.size
    if size is None:
        head = await upstream.head(file.url, kind="metadata")
        if head.size is None or not head.accepts_ranges:
            return None
        size = head.size

    async def read(start: int, length: int) -> bytes:
        async with upstream.stream(file.url, start=start, end=start + length - 1, kind="metadata") as stream:
            if stream.status != HTTPStatus.PARTIAL_CONTENT:
                raise _NoRanges
            if stream.total is not None and stream.total != size:
                raise MetadataUnreadable(f"it is {stream.total} bytes long, not {size}")
            got = bytearray()
            async for chunk in stream.chunks():
                got += chunk
                if len(got) > length:
                    raise MetadataUnreadable("the remote sends more than it was asked for")
            return bytes(got)

    try:
        return await metadata_by_ranges(read, size, file.filename)
    except _NoRanges:
        return None
