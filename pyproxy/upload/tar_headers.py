"""Headers of a tar archive: ustar blocks, and the pax records and GNU names that extend them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from pyproxy.model import printable
from pyproxy.upload.refusal import UploadRefused

BLOCK: Final = 512

_USTAR: Final = b"ustar\x0000"
_GNU: Final = b"ustar  \x00"
_OLD: Final = bytes(8)

# Mode, owner, group, time, device: of no interest, but readers refuse what is no number.
_OTHER_NUMBERS: Final = ((100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345))
_BASE_256: Final = b"\x80\xff"

_OCTAL = re.compile(rb" *([0-7]{1,22})[ \0]*\Z")
_RECORD = re.compile(rb"([1-9][0-9]{0,5}) ([^=\n\0]{1,255})=")

# What says where a member lies, how long it is or how its name is to be read.
_TELLING: Final = {b"path", b"linkpath", b"size", b"hdrcharset"}


@dataclass(frozen=True, slots=True)
class Header:
    """A header block. `kind` is its type flag."""

    name: str
    kind: bytes
    size: int
    link: str


@dataclass(frozen=True, slots=True)
class Extended:
    """What extended headers say of the member that follows them."""

    path: str | None = None
    link: str | None = None
    size: int | None = None
    kinds: bytes = b""
    """Which headers have spoken."""


def header_of(block: bytes) -> Header:
    """Raises UploadRefused."""
    told = _number(block[148:156])
    if told != sum(block) - sum(block[148:156]) + 8 * 0x20:
        raise UploadRefused("not a tar archive, or a damaged one")
    for start, end in _OTHER_NUMBERS:
        if block[start] not in _BASE_256:  # also a negative one: a time before 1970
            _number(block[start:end])
    magic = block[257:265]
    name = _text(block[:100])
    if magic == _USTAR:
        prefix = _text(block[345:500])
        if prefix:
            name = f"{prefix}/{name}"
    elif magic not in {_GNU, _OLD} or any(block[345:BLOCK]):
        # GNU keeps other things where ustar has the prefix, and some readers take them for one.
        raise UploadRefused(f"{printable(name)} has a header of an unknown kind")
    return Header(name, block[156:157], _number(block[124:136]), _text(block[157:257]))


def extended_by(extended: Extended, header: Header, body: bytes) -> Extended:
    """What is known of the next member, now that this header has spoken too. Raises UploadRefused."""
    kind = header.kind
    if kind == b"g":
        # git writes its commit into one; for all members it may say nothing that matters.
        if extended.kinds or any(key in _TELLING for key, _ in _records(body)):
            raise UploadRefused("a global header of the tar archive says more than it may")
        return extended
    if kind in extended.kinds or (extended.kinds and (kind == b"x" or b"x" in extended.kinds)):
        raise UploadRefused("a member of the tar archive has extended headers that contradict each other")
    extended = replace(extended, kinds=extended.kinds + kind)
    if kind == b"L":
        return replace(extended, path=_text(body))
    if kind == b"K":
        return replace(extended, link=_text(body))
    return _by_pax(extended, body)


def _by_pax(extended: Extended, body: bytes) -> Extended:
    seen = set()
    for key, value in _records(body):
        if key in seen and key in _TELLING:
            raise UploadRefused("a member of the tar archive has a pax record twice")
        seen.add(key)
        if key == b"path":
            extended = replace(extended, path=_utf8(value))
        elif key == b"linkpath":
            extended = replace(extended, link=_utf8(value))
        elif key == b"size":
            extended = replace(extended, size=_decimal(value))
        elif key == b"hdrcharset" or key.startswith(b"GNU.sparse."):
            raise UploadRefused("a member of the tar archive is sparse, or names itself in another character set")
    return extended


def _records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The pax records: a number that counts all of it, a blank, key, `=`, value and a line break."""
    at = 0
    while at < len(body):
        found = _RECORD.match(body, at)
        end = at + int(found[1]) if found else 0
        if found is None or end <= found.end() or end > len(body) or body[end - 1 : end] != b"\n":
            raise UploadRefused("an extended header of the tar archive is damaged")
        yield found[2], body[found.end() : end - 1]
        at = end


def _number(raw: bytes) -> int:
    """Octal digits, or GNU's eight bytes behind a 0x80; an empty field is 0."""
    if raw[:1] == b"\x80":
        return int.from_bytes(raw[1:], "big")
    if not raw.strip(b" \0"):
        return 0
    found = _OCTAL.match(raw)
    if found is None:
        raise UploadRefused("not a tar archive, or a damaged one")
    return int(found[1], 8)


def _decimal(raw: bytes) -> int:
    if not raw.isdigit() or len(raw) > 19:  # noqa: PLR2004 - what 64 bits hold
        raise UploadRefused("an extended header of the tar archive is damaged")
    return int(raw)


def _text(raw: bytes) -> str:
    return _utf8(raw.partition(b"\0")[0])


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UploadRefused(f"a member's name is not UTF-8: {printable(raw.decode('latin-1'))}") from exc
