"""Bodies of pages, lists and small documents: read whole or to disk, decoded by ourselves, never past a bound.

aiohttp takes a gzip stream that was cut for a whole one, so it is not asked to decode.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from isal import isal_zlib

from pyproxy.encoding import gunzip
from pyproxy.errors import PageUnreadable, StoreFull, StoreTrouble
from pyproxy.upstream.answer import Answer
from pyproxy.upstream.trouble import wrong

# Below this, decoding takes less than a millisecond and a hop to a thread is not worth it.
_INLINE = 64 * 1024
_AT_ONCE = 1 << 20

_GZIP = 31  # zlib's window bits for a gzip stream
_MOST_MEMBERS = 8


async def read(answer: Answer, *, limit: int, silence: float, deadline: float) -> bytes:
    """The whole body, decoded; `limit` bounds it in both forms. Raises Trouble."""
    gzipped = is_gzipped(answer)
    _check_length(answer, limit)
    body = answer.at_hand()
    if body is None:
        body = await _gathered(answer, limit=limit, silence=silence, deadline=deadline)
    _check_got(answer, limit)
    if not gzipped:
        return body
    try:
        return gunzip(body, limit) if len(body) < _INLINE else await asyncio.to_thread(gunzip, body, limit)
    except PageUnreadable as exc:
        raise wrong(f"its body cannot be decoded: {exc}", again=True) from exc


async def _gathered(answer: Answer, *, limit: int, silence: float, deadline: float) -> bytes:
    parts = []
    async for chunk in answer.chunks(silence=silence, deadline=deadline):
        _check_got(answer, limit)
        parts.append(chunk)
    return b"".join(parts)


async def write(answer: Answer, path: Path, *, limit: int, silence: float, deadline: float) -> None:
    """The whole body, decoded, into a file made here. Raises Trouble, StoreTrouble; then there is no file."""
    decoder = _Gunzip(limit) if is_gzipped(answer) else _Identity()
    _check_length(answer, limit)
    try:
        with _create(path) as file:
            pending = bytearray()
            async for chunk in answer.chunks(silence=silence, deadline=deadline):
                _check_got(answer, limit)
                pending += chunk
                if len(pending) >= _AT_ONCE:
                    await _append_in_thread(file, decoder, bytes(pending))
                    pending.clear()
            await _append_in_thread(file, decoder, bytes(pending))
            decoder.end()
    except BaseException:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - microseconds, and whoever is cancelled should not await
        raise


async def _append_in_thread(file: BinaryIO, decoder: _Decoder, data: bytes) -> None:
    task = asyncio.ensure_future(asyncio.to_thread(_append, file, decoder, data))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        # The file is closed next, and its descriptor may then be another file's: the thread must be done with it.
        await asyncio.wait([task])
        raise


class _Decoder(Protocol):
    def decode(self, data: bytes) -> Iterator[bytes]:
        """Raises Trouble."""

    def end(self) -> None:
        """Raises Trouble where something is missing."""


class _Identity:
    def decode(self, data: bytes) -> Iterator[bytes]:
        yield data

    def end(self) -> None:
        """Nothing to check: the framing did."""


class _Gunzip:
    """A gzip stream in pieces, decoded up to a bound; as `encoding.gunzip`, which has the whole of it at once."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._members = 1
        self._decoder = isal_zlib.decompressobj(wbits=_GZIP)

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._decoder.eof:
                self._members += 1
                if self._members > _MOST_MEMBERS:
                    raise wrong("its body cannot be decoded: too many gzip streams in it")
                self._decoder = isal_zlib.decompressobj(wbits=_GZIP)
            try:
                part = self._decoder.decompress(data, _AT_ONCE)
            except isal_zlib.error as exc:  # type: ignore[misc] # its stubs declare an instance, it is a class
                raise wrong("its body cannot be decoded: no gzip stream, or a damaged one", again=True) from exc
            self._left -= len(part)
            if self._left < 0:
                raise wrong("its body cannot be decoded: it passes the bound")
            yield part
            data = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail

    def end(self) -> None:
        if not self._decoder.eof:
            raise wrong("its body cannot be decoded: the gzip stream is cut", again=True)


def is_gzipped(answer: Answer) -> bool:
    """Raises Trouble for codings that were not asked for."""
    coding = answer.headers.get("Content-Encoding", "").strip().lower()
    if coding in {"gzip", "x-gzip"}:
        return True
    if coding not in {"", "identity"}:
        raise wrong("sent a content coding that was not asked for")
    return False


def _check_length(answer: Answer, limit: int) -> None:
    if answer.length is not None and answer.length > limit:
        raise wrong(f"body of {answer.length} bytes, over the bound of {limit}")


def _check_got(answer: Answer, limit: int) -> None:
    if answer.got > limit:
        raise wrong(f"body of more than {limit} bytes, over the bound")


def _create(path: Path) -> BinaryIO:
    try:
        return path.open("wb", buffering=0)
    except OSError as exc:
        raise _store_trouble(exc) from exc


def _append(file: BinaryIO, decoder: _Decoder, data: bytes) -> None:
    for part in decoder.decode(data):
        view = memoryview(part)
        while view:
            try:
                view = view[file.write(view) :]
            except OSError as exc:
                raise _store_trouble(exc) from exc


def _store_trouble(exc: OSError) -> StoreTrouble:
    if exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StoreFull("no room for the list of projects")
    return StoreTrouble("the list of projects cannot be written")
