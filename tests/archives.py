"""Wheels for tests: as zipfile makes them, and written by hand, so that each field of each header can lie."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field

MEMBER = "foo_bar-1.0.dist-info/METADATA"
METADATA = b"Metadata-Version: 2.1\nName: foo-bar\nVersion: 1.0\n\nA description.\r\n\xff not UTF-8"


def built(
    *members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"", prefix: bytes = b""
) -> bytes:
    """A wheel as zipfile makes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, body in members:
            archive.writestr(zipfile.ZipInfo(name), body, compress_type=method)
        archive.comment = comment
    return prefix + file.getvalue()


@dataclass(frozen=True, slots=True)
class Entry:
    """A member whose headers say what they are told to."""

    name: bytes = MEMBER.encode()
    body: bytes = METADATA
    method: int = 0
    flags: int = 0
    central: dict[str, int] = field(default_factory=dict)
    local: dict[str, int] = field(default_factory=dict)
    local_name: bytes | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    data: bytes | None = None

    def facts(self) -> dict[str, int]:
        return {"flags": self.flags, "method": self.method, "crc": zlib.crc32(self.body), "packed": len(self.packed()), "size": len(self.body)}  # fmt: skip # noqa: E501

    def packed(self) -> bytes:
        if self.data is not None:
            return self.data
        if self.method != zipfile.ZIP_DEFLATED:
            return self.body
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflate.compress(self.body) + deflate.flush()

    def local_part(self) -> bytes:
        say = self.facts() | self.local
        name = self.name if self.local_name is None else self.local_name
        head = struct.pack(
            "<4s5H3L2H", b"PK\x03\x04", 20, say["flags"], say["method"], 0, 0,
            say["crc"], say["packed"], say["size"], len(name), say.get("extras", len(self.local_extra)),
        )  # fmt: skip
        return head + name + self.local_extra + self.packed()

    def central_part(self, offset: int) -> bytes:
        say = self.facts() | {"offset": offset, "disk": 0} | self.central
        head = struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, say["flags"], say["method"], 0, 0, say["crc"], say["packed"],
            say["size"], len(self.name), say.get("extras", len(self.extra)), 0, say["disk"], 0, 0, say["offset"],
        )  # fmt: skip
        return head + self.name + self.extra


def end_record(members: int, length: int, offset: int, /, **say: int) -> bytes:
    told = {
        "disk": 0,
        "first": 0,
        "here": members,
        "members": members,
        "length": length,
        "offset": offset,
        "comment": 0,
    }
    return struct.pack("<4s4H2LH", b"PK\x05\x06", *(told | say).values())


def end_records64(members: int, length: int, offset: int, /, **say: int) -> bytes:
    """The zip64 end record and its locator."""
    told = {"nbytes": 44, "disk": 0, "here": members, "members": members, "length": length, "offset": offset}
    told |= {"where": offset + length, "locator_disk": 0, "disks": 1} | say
    return struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", told["nbytes"], 45, 45, told["disk"], 0,
        told["here"], told["members"], told["length"], told["offset"],
    ) + struct.pack("<4sLQL", b"PK\x06\x07", told["locator_disk"], told["where"], told["disks"])  # fmt: skip


def forged(*entries: Entry, end64: dict[str, int] | None = None, **end: int) -> bytes:
    front, directory = b"", b""
    for entry in entries:
        directory += entry.central_part(len(front))
        front += entry.local_part()
    more = b"" if end64 is None else end_records64(len(entries), len(directory), len(front), **end64)
    return front + directory + more + end_record(len(entries), len(directory), len(front), **end)
