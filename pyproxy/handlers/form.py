"""An upload's form read off its request: the file goes to a sink and is hashed on the way, the fields to memory.

Nothing is decoded that a client could make large (`aiohttp` would inflate a body that carries a Content-Encoding), and
what is over a bound is refused as soon as that is known, before a byte of the body is asked for where the head tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from aiohttp import hdrs, web

from pyproxy.model import printable
from pyproxy.upload.form import Digests, Form, FormBounds
from pyproxy.upload.hashing import Hashing
from pyproxy.upload.multipart import End, Event, Multipart, Part
from pyproxy.upload.parameters import parameters_of
from pyproxy.upload.refusal import UploadRefused

CONTENT: Final = "content"
SIGNATURE: Final = "gpg_signature"

_CHARSET: Final = "_charset_"
_CHARSETS: Final = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin-1": "latin-1",
    "latin1": "latin-1",
}

_BATCH: Final = 1 << 20
"""Bytes of the file that go into a thread together: 4 ms of hashing."""

_INLINE: Final = 32 << 10
"""Bytes that are hashed and written faster (0.15 ms) than a thread is woken twice with a busy loop."""


_GRACE: Final = 60.0
"""Seconds for which an upload may be as slow as it likes; the connection sees to it that it does not stand still."""

_PACE: Final = 1024
"""Bytes a second that it must have come at after that, so that nobody holds a file open for ever."""


class Sink(Protocol):
    """Where the file goes: called for one piece after the other, at times from a thread."""

    def write(self, data: bytes, /) -> None: ...


async def read_form(request: web.BaseRequest, sink: Sink, *, limit: int, bounds: FormBounds | None = None) -> Form:
    """The form, read to its end; the file in its `content` part is then in the sink, whole.

    `limit` is for the body as a whole, in bytes. Raises UploadRefused: 415 for a body that is no multipart form or is
    encoded, 413 for what is too large, 408 for what comes too slowly, 400 for the rest, a body that ends early
    included. What the sink or the connection raises passes through. Where it raises, the rest of the body is unread:
    only closing the connection is safe then.
    """
    parser = Multipart(_boundary(request))
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    reading = _Reading(sink, bounds or FormBounds())
    total = 0
    clock = asyncio.get_running_loop().time
    begun = clock()
    while data := await request.content.readany():
        total += len(data)
        if total > limit:
            raise _too_large(limit)
        if total < (clock() - begun - _GRACE) * _PACE:
            raise UploadRefused(f"the upload comes at less than {_PACE} bytes a second", 408)
        for event in parser.feed(data):
            await reading.take(event)
    if not parser.finished:
        raise UploadRefused("the form is cut")
    return await reading.form()


def _boundary(request: web.BaseRequest) -> str:
    codings = [value.strip().lower() for value in request.headers.getall(hdrs.CONTENT_ENCODING, [])]
    if any(coding not in {"", "identity"} for coding in codings):
        raise UploadRefused("an upload with a Content-Encoding is not taken", 415)
    kinds = request.headers.getall(hdrs.CONTENT_TYPE, [])
    if len(kinds) != 1:
        raise UploadRefused("an upload is a form of type multipart/form-data", 415)
    kind, parameters = parameters_of(kinds[0])
    if kind != "multipart/form-data":
        raise UploadRefused("an upload is a form of type multipart/form-data", 415)
    return parameters.get("boundary", "")


def _too_large(limit: int) -> UploadRefused:
    return UploadRefused(f"the upload is larger than {limit} bytes", 413)


class _Reading:
    """A form of which some parts have come. One part at a time has its content taken by `_file` or `_field`."""

    def __init__(self, sink: Sink, bounds: FormBounds) -> None:
        self._file = _File(sink)
        self._bounds = bounds
        self._part: Part | None = None
        self._parts = 0
        self._bytes = 0  # of all fields
        self._piled: list[bytes] = []  # the field at hand
        self._size = 0  # the same in bytes
        self._most = 0  # what it may have
        self._fields: list[tuple[Part, bytes]] = []
        self._filename: str | None = None

    async def take(self, event: Event) -> None:
        if isinstance(event, Part):
            self._begin(event)
        elif event is End.PART:
            self._end()
        elif self._part is not None and self._part.name == CONTENT:
            await self._file.take(event)
        else:
            self._pile(event)

    def _begin(self, part: Part) -> None:
        self._parts += 1
        if self._parts > self._bounds.parts:
            raise UploadRefused(f"the form has more than {self._bounds.parts} parts", 413)
        if part.name == CONTENT:
            if self._filename is not None:
                raise UploadRefused("the form has two files")
            if not part.filename:
                raise UploadRefused("the form's content has no filename")
            self._filename = part.filename
        elif part.filename is not None and part.name != SIGNATURE:
            raise UploadRefused(f"the form's field {printable(part.name)} is a file")
        self._part = part
        self._most = {"description": self._bounds.description, SIGNATURE: self._bounds.signature}.get(
            part.name, self._bounds.field
        )
        self._spend(len(part.name))

    def _pile(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._part is not None and self._size > self._most:
            raise UploadRefused(f"the form's field {printable(self._part.name)} is too large", 413)
        self._spend(len(piece))
        self._piled.append(piece)

    def _spend(self, nbytes: int) -> None:
        self._bytes += nbytes
        if self._bytes > self._bounds.fields:
            raise UploadRefused("the form's fields are too large", 413)

    def _end(self) -> None:
        if self._part is not None and self._part.name != CONTENT:
            self._fields.append((self._part, b"".join(self._piled)))
        self._part, self._piled, self._size = None, [], 0

    async def form(self) -> Form:
        """All of it, now that the last part has come."""
        signatures = [body for part, body in self._fields if part.name == SIGNATURE]
        if len(signatures) > 1:
            raise UploadRefused("the form has two signatures")
        return Form(
            fields=self._decoded(),
            filename=self._filename or "",
            size=self._file.size,
            digests=await self._file.digests(),
            gpg_signature=signatures[0] if signatures else None,
        )

    def _decoded(self) -> Mapping[str, tuple[str, ...]]:
        """RFC 7578 §4.6: a part's own charset, else what `_charset_` says for all, wherever it stands, else UTF-8."""
        told = [body.decode("latin-1").strip() for part, body in self._fields if part.name == _CHARSET]
        default = told[0] if told else "utf-8"
        found: dict[str, list[str]] = {}
        for part, body in self._fields:
            if part.name in {_CHARSET, SIGNATURE}:
                continue
            codec = _CHARSETS.get((part.charset or default).lower())
            if codec is None:
                raise UploadRefused(f"the form's field {printable(part.name)} is in a character set that is not taken")
            try:
                found.setdefault(part.name, []).append(body.decode(codec))
            except UnicodeDecodeError as exc:
                raise UploadRefused(f"the form's field {printable(part.name)} is not {codec}") from exc
        return {name: tuple(values) for name, values in found.items()}


class _File:
    """The file on its way to the sink, and its digests."""

    def __init__(self, sink: Sink) -> None:
        self.size = 0
        self._sink = sink
        self._held: list[bytes] = []
        self._waiting = 0
        self._hashing = Hashing()

    async def take(self, piece: bytes) -> None:
        self.size += len(piece)
        self._held.append(piece)
        self._waiting += len(piece)
        if self._waiting >= _BATCH:
            await self._flush()

    async def _flush(self) -> None:
        data, self._held, self._waiting = b"".join(self._held), [], 0
        if len(data) > _INLINE:
            await asyncio.to_thread(self._keep, data)
        else:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        self._hashing.update(data)
        self._sink.write(data)

    async def digests(self) -> Digests:
        """Of the whole file, which is in the sink then."""
        if self._waiting:
            await self._flush()
        return self._hashing.digests()
