"""Extra fields of zip headers (APPNOTE 4.5): the two that change what a member is, and that they change nothing."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from pyproxy.upload.refusal import UploadRefused

MAX32: Final = 0xFFFFFFFF
"""A size or offset that stands in the zip64 field."""

_FIELD: Final = struct.Struct("<2H")
_ZIP64: Final = 0x0001
_UNICODE_PATH: Final = 0x7075
_TELLING: Final = frozenset({_ZIP64, _UNICODE_PATH})


def fields_of(extra: bytes) -> Mapping[int, bytes]:
    """The fields that say something of sizes and names. Raises UploadRefused where the chain is broken."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(extra):
        if at + _FIELD.size > len(extra):
            raise UploadRefused("the extra fields of a member are damaged")
        kind, length = _FIELD.unpack_from(extra, at)
        at += _FIELD.size
        body = extra[at : at + length]
        at += length
        if at > len(extra):
            raise UploadRefused("the extra fields of a member are damaged")
        if kind in _TELLING:
            if kind in found:
                raise UploadRefused("a member has an extra field twice")
            found[kind] = body
    return found


def own_name(fields: Mapping[int, bytes], raw: bytes) -> None:
    """Refuses a second name: readers would differ in which one they take (APPNOTE 4.6.9)."""
    field = fields.get(_UNICODE_PATH)
    if field is not None and field[5:] != raw:
        raise UploadRefused("a member has two names")


def wide_sizes(fields: Mapping[int, bytes], *values: int, both: tuple[int, int] | None = None) -> list[int]:
    """The values, those that are all ones taken from the zip64 field, in this order (APPNOTE 4.5.3).

    A local header's field may hold `both` sizes, where only one or none of them is all ones: zipfile of CPython before
    3.11.4 wrote it so. Raises UploadRefused.
    """
    field = fields.get(_ZIP64)
    missing = values.count(MAX32)
    if field is None:
        if missing:
            raise UploadRefused("a member's zip64 field is missing")
        return list(values)
    wide = [int.from_bytes(field[at : at + 8], "little") for at in range(0, len(field), 8)]
    if both is not None and len(field) == 16 and tuple(wide) == both:  # noqa: PLR2004 - two numbers of eight bytes
        return [wide[at] if value == MAX32 else value for at, value in enumerate(values)]
    if len(field) != 8 * missing or not missing:
        raise UploadRefused("a member's zip64 field does not fit its header")
    rest = iter(wide)
    return [next(rest) if value == MAX32 else value for value in values]
