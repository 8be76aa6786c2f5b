"""What the index holds, row by row: the values, their bytes, and the keys they lie under.

A row that cannot be read is as good as absent: all of it can be fetched again.
"""

from __future__ import annotations

import hashlib
import logging
import struct
import threading
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
import zstandard

from pyproxy.errors import BlobDamaged
from pyproxy.model import Filename, ProjectName, ProjectPage, Sha256

log = logging.getLogger(__name__)

SCHEMA: Final = b"1"
"""The shape of the rows. An index of another shape is set aside and begun anew."""

MAX_KEY: Final = 511
"""Bytes that LMDB allows a key, and a value of a table with duplicates."""

_REMOTE_KEY: Final = 200
_HASHED: Final = b"\xff"  # no UTF-8 text begins so: a hashed key can never meet a plain one
_HASHED_LENGTH: Final = 33


class FileRecord(msgspec.Struct, frozen=True, array_like=True):
    """A file that is held: which blob has its bytes, and what was known of it when it was stored.

    `verified` names the algorithm of the page's digest that the bytes agreed with, or is "framing" where the page
    gave none. `stored_at` is in seconds since the epoch, `size` in bytes.
    """

    digest: Sha256
    size: int
    project: ProjectName
    filename: Filename
    stored_at: float
    verified: str


class PageHead(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a stored page beside its contents.

    `fetched_at` is when the remote last confirmed it, in seconds since the epoch. `version` tells stored bodies
    apart: `put_page` gives every new body a higher one, never used before in this index.
    """

    url: str
    etag: str | None = None
    last_modified: str | None = None
    fetched_at: float = 0.0
    content_type: str = ""
    version: int = 0


BESIDE: Final = "beside"
"""The kind of documents that stand beside a file: their `etag` is the SHA-256 of their body, and `url` tells which
file's they are. They never change, so damage shows."""


class DocRecord(msgspec.Struct, frozen=True, array_like=True):
    """A small document of a remote with its validators; `fetched_at` in seconds since the epoch."""

    body: bytes
    content_type: str
    etag: str | None
    last_modified: str | None
    fetched_at: float
    url: str


@dataclass(frozen=True, slots=True)
class BlobRow:
    """A blob as adopted: its size in bytes, its file's mtime in nanoseconds, its last use in microseconds."""

    size: int
    mtime_ns: int
    access: int

    _FORMAT = struct.Struct(">QqQ")

    def pack(self) -> bytes:
        return self._FORMAT.pack(self.size, self.mtime_ns, self.access)

    def lru_key(self, digest: Sha256) -> bytes:
        """Its place in the order of use."""
        return self.access.to_bytes(8, "big") + bytes.fromhex(digest)

    @classmethod
    def unpack(cls, data: bytes) -> BlobRow:
        return cls(*cls._FORMAT.unpack(data))


@dataclass(frozen=True, slots=True)
class Total:
    """What all blob rows add up to: bytes and their number. Kept beside them, in the same transactions."""

    size: int = 0
    blobs: int = 0

    _FORMAT = struct.Struct(">QQ")

    def pack(self) -> bytes:
        return self._FORMAT.pack(self.size, self.blobs)

    @classmethod
    def unpack(cls, data: bytes | None) -> Total:
        return cls() if data is None else cls(*cls._FORMAT.unpack(data))


_encoder = msgspec.msgpack.Encoder()
_pages = msgspec.msgpack.Decoder(ProjectPage)
_heads = msgspec.msgpack.Decoder(PageHead)
_files = msgspec.msgpack.Decoder(FileRecord)
_docs = msgspec.msgpack.Decoder(DocRecord)
_R = TypeVar("_R")

_MAX_PAGE: Final = 1 << 30
_SMALL_PAGE: Final = 64 * 1024
_own = threading.local()


def pack_page(page: ProjectPage) -> bytes:
    """The page as the index stores it. 3 ms for 4,400 files: call it off the loop when the page is large."""
    body = _encoder.encode(page)
    return _packer(len(body)).compress(body)


def _packer(nbytes: int) -> zstandard.ZstdCompressor:
    """For small pages the thread's own, kept: to make one takes thrice as long as to pack one of them."""
    found: zstandard.ZstdCompressor | None = getattr(_own, "packer", None)
    if found is None or nbytes > _SMALL_PAGE:
        found = zstandard.ZstdCompressor(level=1, write_checksum=True)
        if nbytes <= _SMALL_PAGE:
            _own.packer = found
    return found


def unpack_page(data: bytes) -> ProjectPage:
    """The page of `pack_page`. As costly as that.

    Raises BlobDamaged for bytes that are none: drop the page and fetch it again.
    """
    try:
        # A damaged frame may claim any size, and the decompressor would allocate it.
        if not 0 <= zstandard.frame_content_size(data) <= _MAX_PAGE:
            raise BlobDamaged("a stored page cannot be read: it does not say its size")
        return _pages.decode(zstandard.ZstdDecompressor().decompress(data))
    except (zstandard.ZstdError, msgspec.MsgspecError) as exc:
        raise BlobDamaged("a stored page cannot be read") from exc


def pack(row: FileRecord | PageHead | DocRecord) -> bytes:
    return _encoder.encode(row)


def unpack_file(data: bytes | None) -> FileRecord | None:
    return _unpacked(_files, data)


def unpack_head(data: bytes | None) -> PageHead | None:
    return _unpacked(_heads, data)


def unpack_doc(data: bytes | None) -> DocRecord | None:
    return _unpacked(_docs, data)


def is_sound_doc(key: bytes, data: bytes) -> bool:
    """Whether it can be read, and is what it was where that can be told."""
    record = unpack_doc(data)
    if record is None:
        return False
    kind = key.split(b"\0", 2)[1:2]
    return kind != [BESIDE.encode()] or hashlib.sha256(record.body).hexdigest() == record.etag


def _unpacked(decoder: msgspec.msgpack.Decoder[_R], data: bytes | None) -> _R | None:
    if data is None:
        return None
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as exc:
        log.warning("a record of the index cannot be read and counts as absent: %s", exc)
        return None


# ---------------------------------------------------------------------- keys


def file_key(remote: str, netloc: str, path: str) -> str:
    """What a file of a remote is recorded under.

    `netloc` is empty where the file lies on the remote's own host. `path` is the path of the file's URL; callers
    percent-decode it, so that all spellings of one path meet.
    """
    host = f"~{netloc}" if netloc else ""
    return f"{remote}{host}/{path.removeprefix('/')}"


def key_bytes(key: str) -> bytes:
    """A text of any length as a key of the index."""
    return _bounded(key, MAX_KEY)


def page_key(remote: str, project: ProjectName) -> bytes:
    return _bounded(remote, _REMOTE_KEY) + b"\0" + project.encode()


def remote_of(key: bytes) -> str:
    """The remote that a page's or a document's key begins with."""
    return key.partition(b"\0")[0].decode(errors="replace")


def doc_key(remote: str, kind: str, name: str) -> bytes:
    front = _bounded(remote, _REMOTE_KEY) + b"\0" + _bounded(kind, _HASHED_LENGTH) + b"\0"
    return front + _bounded(name, MAX_KEY - len(front))


def learned_prefix(remote: str, project: ProjectName) -> bytes:
    """What the keys of a project's learned digests begin with; alone, the key of their count."""
    return hashlib.blake2b(f"{remote}\0{project}".encode(), digest_size=16).digest()


def _bounded(text: str, limit: int) -> bytes:
    # A path may hold bytes that are no UTF-8: surrogates stand for them, and two such paths stay two keys.
    plain = text.encode(errors="surrogatepass")
    if 0 < len(plain) <= limit:
        return plain
    return _HASHED + hashlib.sha256(plain).digest()
