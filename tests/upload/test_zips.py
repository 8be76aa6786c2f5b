"""Zip archives of uploads: the kinds of confusion that installers have met, none of which is taken."""

from __future__ import annotations

import io
import stat
import struct
import time
import zipfile
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyproxy.upload.bounds import Bounds, Budget
from pyproxy.upload.refusal import UploadRefused
from pyproxy.upload.zips import Zip
from tests.archives import Entry, end_record, end_records64, forged
from tests.upload.building import in_one_line, why_refused, zipped

A = Entry(b"a.txt", b"some text " * 9, method=8)
B = Entry(b"dir/b.bin", b"\0\1\2")
MAX32 = 0xFFFFFFFF


def contents(data: bytes, bounds: Bounds | None = None) -> dict[str, bytes]:
    """All members and what they hold."""
    archive = Zip(io.BytesIO(data), len(data), Budget(bounds or Bounds(), len(data)))
    return {path: b"".join(archive.pieces(member)) for path, member in archive.members.items()}


def refusal(data: bytes, bounds: Bounds | None = None) -> UploadRefused:
    with pytest.raises(UploadRefused) as refused:
        contents(data, bounds)
    assert refused.value.reason.isprintable()
    return refused.value


def wide(*values: int) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values)


def field(kind: int, body: bytes) -> bytes:
    return struct.pack("<2H", kind, len(body)) + body


def unicode_path(name: bytes, own: bytes) -> bytes:
    return field(0x7075, b"\1" + struct.pack("<L", zlib.crc32(own)) + name)


def parts(*entries: Entry) -> tuple[bytes, bytes]:
    """The members, and the central directory behind them."""
    front, directory = b"", b""
    for entry in entries:
        directory += entry.central_part(len(front))
        front += entry.local_part()
    return front, directory


def whole(front: bytes, directory: bytes, *, between: bytes = b"", count: int = 2, **say: int) -> bytes:
    told = {"length": len(directory), "offset": len(front) + len(between)} | say
    return front + between + directory + end_record(count, told.pop("length"), told.pop("offset"), **told)


SIZED = {"packed": len(A.packed()), "size": len(A.body)}

TAKEN = {
    "stored and deflated": forged(A, B),
    "as zipfile writes it": zipped({"a.txt": A.body, "dir/b.bin": B.body}),
    "empty members": forged(Entry(b"a", b""), Entry(b"b", b"", method=8)),
    "no members": forged(),
    "folders": zipped({"dir/": b"", "dir/b": b"b"}),
    "a comment at the end": zipped({"a": b"a"}, comment=b"the commit"),
    "directory in another order": whole(parts(A, B)[0], B.central_part(len(A.local_part())) + A.central_part(0)),
    "zip in zip, stored": forged(Entry(b"inner.whl", forged(A, B)), A),
    "name in UTF-8": forged(Entry("ü.txt".encode(), b"", flags=0x800)),
    "its own name again": forged(
        replace(A, extra=unicode_path(A.name, A.name), local_extra=unicode_path(A.name, A.name))
    ),
    "times in extra fields": forged(
        replace(A, extra=field(0x5455, b"\1abcd"), local_extra=field(0x5455, b"\1abcdefgh"))
    ),
    "zip64 sizes": forged(
        replace(
            A,
            central={"packed": MAX32, "size": MAX32},
            extra=wide(SIZED["size"], SIZED["packed"]),
            local={"packed": MAX32, "size": MAX32},
            local_extra=wide(SIZED["size"], SIZED["packed"]),
        )
    ),
    "zip64 offset": forged(A, replace(B, central={"offset": MAX32}, extra=wide(len(A.local_part())))),
    "zip64 in the local header, as CPython before 3.11.4": forged(
        replace(A, local_extra=wide(SIZED["size"], SIZED["packed"]))
    ),
    "zip64 in the local header, as CPython since 3.11.4": forged(
        replace(A, local={"packed": MAX32, "size": MAX32}, local_extra=wide(SIZED["size"], SIZED["packed"]))
    ),
    "zip64 end": forged(A, B, end64={}),
    "zip64 end alone": forged(A, B, end64={}, here=0xFFFF, members=0xFFFF, length=MAX32, offset=MAX32),
}


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
def test_zip__sound__is_what_zipfile_reads(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        expected = {info.filename.removesuffix("/"): archive.read(info) for info in archive.infolist()}
    assert contents(data) == expected


def with_mode(mode: int, name: str = "a", *, dos: int = 0) -> bytes:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16 | dos
    return zipped([(info, b"")])


def cut_local(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


FRONT, DIRECTORY = parts(A, B)
END64 = end_records64(2, len(DIRECTORY), len(FRONT))
ALL_ONES = end_record(2, MAX32, MAX32, here=0xFFFF, members=0xFFFF)
DESCRIPTOR = struct.pack("<4s3L", b"PK\7\x08", zlib.crc32(A.body), SIZED["packed"], SIZED["size"])
STREAMED = replace(A, flags=8, local={"crc": 0, "packed": 0, "size": 0})

REFUSED: dict[str, tuple[bytes, str]] = {
    # -- no zip archive, or more than one
    "empty": (b"", "not a zip"),
    "html": (b"<!DOCTYPE html><html>" * 40, "not a zip"),
    "not.zip": (b"PK\3\4" + b"x" * 100, "not a zip"),
    "end record cut": (forged(A)[:-1], "not a zip"),
    "cut": (forged(A, B)[: len(FRONT)], "not a zip"),
    "prefix": (b"#!/bin/sh\n" + forged(A, B), "not where its end record says"),
    "prefix, offsets put right": (
        b"junk" + whole(FRONT, A.central_part(4) + B.central_part(4 + len(A.local_part())), offset=len(FRONT) + 4),
        "bytes lie before it",
    ),
    "suffix_not_comment": (forged(A) + b"x", "something behind its end"),
    "comment cut": (zipped({"a": b"a"}, comment=b"comment")[:-2], "something behind its end"),
    "8bitcomment": (zipped({"a": b"a"}, comment=b"x" * 256)[:-256], "something behind its end"),
    "dupe_eocd": (forged(A) + end_record(1, 51, 0), "not where its end record says"),
    "end record in the comment": (zipped({"a": b"a"}, comment=end_record(0, 0, 0)), "not where its end record says"),
    "zip in the comment": (zipped({"a": b"a"}, comment=forged(B)), "not where its end record says"),
    "two archives": (forged(A) + forged(B), "not where its end record says"),
    "zipinzip": (
        forged(Entry(b"x", b"y", central={"packed": 300, "size": 300}, local={"packed": 300, "size": 300})) + forged(A),
        "not where its end record says",
    ),
    # -- end records
    "count too small": (whole(FRONT, DIRECTORY, count=1), "more entries than its end record says"),
    "count too large": (whole(FRONT, DIRECTORY, count=3), "central directory is damaged"),
    "offset off by one": (whole(FRONT, DIRECTORY, offset=len(FRONT) + 1), "not where its end record says"),
    "length off by one": (whole(FRONT, DIRECTORY, length=len(DIRECTORY) - 1), "not where its end record says"),
    "both off by one": (
        whole(FRONT, DIRECTORY, length=len(DIRECTORY) - 1, offset=len(FRONT) + 1),
        "central directory is damaged",
    ),
    "bytes before the directory": (whole(FRONT, DIRECTORY, between=b"PK"), "belong to no member"),
    "several volumes": (whole(FRONT, DIRECTORY, disk=1), "several volumes"),
    "members on another volume": (whole(FRONT, DIRECTORY, here=1), "several volumes"),
    "zip64 without its record": (FRONT + DIRECTORY + ALL_ONES, "several volumes|not where"),
    "eocd64_locator_mismatch": (forged(A, B, end64={"where": 7}), "not where its locator says"),
    "eocd64_non_locator": (FRONT + DIRECTORY + END64[:56] + b"PK\6\x08" + END64[60:] + ALL_ONES, "several|not where"),
    "eocd64_without_eocd": (FRONT + DIRECTORY + END64, "not a zip"),
    "eocd64_without_locator": (FRONT + DIRECTORY + END64[:56] + ALL_ONES, "several volumes|not where"),
    "locator without eocd64": (FRONT + DIRECTORY + END64[56:] + ALL_ONES, "not where its locator says"),
    "zip64_eocd_extensible_data": (forged(A, B, end64={"nbytes": 60}), "longer than it should be"),
    "zip64_eocd_confusion": (forged(A, B, end64={"offset": 9, "where": len(FRONT + DIRECTORY)}), "contradict"),
    "zip64 count": (forged(A, B, end64={"members": 3, "here": 3}), "contradict"),
    "zip64 count, unsaid elsewhere": (
        forged(A, B, end64={"members": 3, "here": 3}, here=0xFFFF, members=0xFFFF),
        "damaged",
    ),
    "zip64 volumes": (forged(A, B, end64={"disks": 2}), "several volumes"),
    "bytes between directory and zip64 end": (
        FRONT
        + DIRECTORY
        + b"x"
        + end_records64(2, len(DIRECTORY), len(FRONT), where=len(FRONT + DIRECTORY) + 1)
        + ALL_ONES,
        "not where its end record says",
    ),
    # -- local and central headers
    "cd_comment": (whole(FRONT, cut_local(DIRECTORY, 32, b"\1\0")[:51] + b"c" + DIRECTORY[51:]), "holds comments"),
    "cd_extra_entry": (whole(parts(A)[0], A.central_part(0) * 2), "overlaps another member"),
    "cd_missing_entry": (whole(FRONT, A.central_part(0), count=1), "belong to no member"),
    "missing_local_file": (
        whole(parts(A)[0], A.central_part(0) + B.central_part(len(A.local_part()))),
        "has no local header",
    ),
    "member in front that is not listed": (whole(FRONT, B.central_part(len(A.local_part())), count=1), "before it"),
    "overlap": (
        forged(replace(A, central={"packed": 500, "size": 500}, local={"packed": 500, "size": 500}), B),
        "overlaps",
    ),
    "quine of offsets": (forged(A, replace(A, name=b"other.txt", central={"offset": 0})), "overlaps"),
    "bytes between members": (
        forged(Entry(b"a", b"x", data=b"xjunk", central={"packed": 1}, local={"packed": 1}), B),
        "before it",
    ),
    "other name": (forged(replace(A, local_name=b"b.txt")), "contradict"),
    "longer name": (forged(replace(A, local_name=b"a.txt.py")), "contradict"),
    "other method": (forged(replace(A, local={"method": 0})), "contradict"),
    "other crc": (forged(replace(A, local={"crc": 1})), "contradict"),
    "other size": (forged(replace(A, local={"size": 1})), "contradict"),
    "other packed size": (forged(replace(A, local={"packed": 1})), "contradict"),
    "other flags": (forged(replace(A, local={"flags": 2})), "contradict"),
    "flagged local": (forged(replace(A, local={"flags": 8})), "contradict"),
    "duplicate names": (forged(A, replace(A, body=b"other")), "twice"),
    "case twins": (forged(A, replace(A, name=b"A.txt")), "the same file on some systems"),
    "file and folder": (forged(A, replace(A, name=b"a.txt/b")), "is a file and a folder"),
    # -- data descriptors
    "data_descriptor": (
        whole(STREAMED.local_part() + DESCRIPTOR, STREAMED.central_part(0), count=1),
        "sizes behind it",
    ),
    "data_descriptor_bad": (
        whole(STREAMED.local_part() + b"\1" * 16, STREAMED.central_part(0), count=1),
        "sizes behind",
    ),
    "data_descriptor_no_sig": (
        whole(STREAMED.local_part() + DESCRIPTOR[4:], STREAMED.central_part(0), count=1),
        "sizes behind it",
    ),
    "data_descriptor_zip64": (
        whole(
            replace(STREAMED, local_extra=wide()).local_part() + DESCRIPTOR[:8] + struct.pack("<2Q", *SIZED.values()),
            STREAMED.central_part(0),
            count=1,
        ),
        "sizes behind it",
    ),
    # -- extra fields
    "extra3byte": (forged(replace(A, extra=b"abc")), "extra fields of a member are damaged"),
    "extra3byte local": (forged(replace(A, local_extra=b"abc")), "extra fields of a member are damaged"),
    "extra field too long": (forged(replace(A, local_extra=struct.pack("<2H", 0x5455, 9))), "extra fields"),
    "shortextra": (forged(replace(A, local_extra=field(0x7075, b"\1abc"))), "two names"),
    "unicode name": (forged(replace(A, local_extra=unicode_path(b"b.txt", A.name))), "two names"),
    "unicode name, central": (forged(replace(A, extra=unicode_path(b"b.txt", A.name))), "two names"),
    "second_unicode_extra": (forged(replace(A, local_extra=unicode_path(A.name, A.name) * 2)), "twice"),
    "unicode_extra_chain": (
        forged(replace(A, extra=unicode_path(A.name, A.name) + unicode_path(b"b.txt", A.name))),
        "twice",
    ),
    "zip64 twice": (forged(replace(A, local_extra=wide(SIZED["size"], SIZED["packed"]) * 2)), "twice"),
    "zip64_extra_csize": (
        forged(replace(A, central={"packed": MAX32}, extra=wide(7), local={"packed": MAX32}, local_extra=wide(7))),
        "overlaps|belong to no member",
    ),
    "zip64_extra_usize": (
        forged(
            replace(A, central={"size": MAX32}, extra=wide(91), local={"size": MAX32}, local_extra=wide(91)),
        ),
        "not as long as|not what the archive's headers say",
    ),
    "zip64_extra_too_long": (
        forged(replace(A, central={"size": MAX32}, extra=wide(90, 0))),
        "zip64 field does not fit",
    ),
    "zip64_extra_too_short": (
        forged(replace(A, central={"size": MAX32, "packed": MAX32}, extra=wide(90))),
        "zip64 field does not fit",
    ),
    "zip64 unasked": (forged(replace(A, extra=wide(90))), "zip64 field does not fit"),
    "zip64 missing": (forged(replace(A, central={"size": MAX32})), "zip64 field is missing"),
    "zip64 lies, local": (forged(replace(A, local_extra=wide(7, SIZED["packed"]))), "zip64 field does not fit"),
    # -- members
    "non_ascii_original_name": (forged(Entry(b"\x81.txt", b"")), "not UTF-8"),
    "name not UTF-8": (forged(Entry(b"\xff.txt", b"", flags=0x800)), "not UTF-8"),
    "encrypted": (forged(replace(A, flags=1)), "encrypted"),
    "strongly encrypted": (forged(replace(A, flags=0x41)), "encrypted"),
    "masked headers": (forged(replace(A, flags=0x2000)), "encrypted"),
    "patched": (forged(replace(A, flags=0x20)), "encrypted"),
    "deflate64": (forged(Entry(b"a", b"x", method=9)), "method 9"),
    "bzip2": (forged(Entry(b"a", b"x", method=12)), "method 12"),
    "lzma": (forged(Entry(b"a", b"x", method=14)), "method 14"),
    "version 9.9 of the specification": (cut_local(forged(A), len(A.local_part()) + 6, b"c"), "version 99"),
    "zstandard": (forged(Entry(b"a", b"x", method=93)), "method 93"),
    "absolute": (forged(Entry(b"/etc/passwd", b"")), "harmful name"),
    "up": (forged(Entry(b"a/../../b", b"")), "harmful name"),
    "backslash": (forged(Entry(b"..\\b", b"")), "harmful name"),
    "nul": (forged(Entry(b"a\0b", b"")), "harmful name"),
    "no name": (forged(Entry(b"", b"")), "harmful name"),
    "symlink": (with_mode(stat.S_IFLNK | 0o777), "is a link"),
    "device": (with_mode(stat.S_IFCHR | 0o600), "is a link, a device"),
    "fifo": (with_mode(stat.S_IFIFO | 0o600), "is a link, a device"),
    "folder in mode alone": (with_mode(stat.S_IFDIR | 0o755), "not the folder"),
    "folder in name alone": (with_mode(stat.S_IFREG | 0o644, "a/"), "not the folder"),
    "folder for DOS alone": (with_mode(0, dos=0x10), "not the folder"),
    "folder with content": (forged(Entry(b"a/", b"x")), "folder with content"),
    "folder with hidden bytes": (forged(Entry(b"a/", b"", method=8, data=b"\3\0hidden")), "not as long as"),
    # -- content
    "stored in other bytes": (
        forged(Entry(b"a", b"xy", central={"size": 9}, local={"size": 9})),
        "another number of bytes",
    ),
    "wrong crc": (forged(replace(A, central={"crc": 1}, local={"crc": 1})), "not what the archive's headers say"),
    "longer than told": (forged(replace(A, central={"size": 9}, local={"size": 9})), "not as long as"),
    "shorter than told": (forged(replace(A, central={"size": 99}, local={"size": 99})), "not what the archive's"),
    "deflate damaged": (forged(replace(A, data=b"\xff\xff\xff")), "is damaged"),
    "deflate cut": (forged(replace(A, data=A.packed()[:-2])), "not as long as"),
    "deflate with more behind": (forged(replace(A, data=A.packed() + b"hidden")), "not as long as"),
    "deflate empty": (forged(replace(A, data=b"")), "not as long as"),
}


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=REFUSED)
def test_zip__of_two_meanings_or_harmful__is_refused(data: bytes, why: str) -> None:
    error = refusal(data)
    assert error.status == 400
    assert any(one in error.reason for one in why.split("|")), error.reason


@pytest.mark.parametrize("content", [forged(A, B), zipped({"a": b"a" * 100})])
def test_zip__cut_anywhere__is_refused(content: bytes) -> None:
    for end in range(len(content)):
        assert refusal(content[:end]).status == 400


# -- bounds


def bomb(size: int) -> bytes:
    return zipped({"zeros": bytes(size)})


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        (Bounds(inflated=9 << 20), "inflates to more than 9 MiB"),
        (Bounds(ratio_from=1 << 20), "inflates to more than 50 times its size"),
    ],
)
def test_zip__that_inflates_too_much__is_413(bounds: Bounds, why: str) -> None:
    error = refusal(bomb(10 << 20), bounds)
    assert (error.status, why in error.reason) == (413, True)


def test_zip__with_too_many_members__is_413() -> None:
    data = zipped({f"m{number}": b"" for number in range(11)})
    assert len(contents(data, Bounds(members=11))) == 11
    error = refusal(data, Bounds(members=10))
    assert (error.status, error.reason) == (413, "the archive has more than 10 members")


def test_zip__that_claims_a_million_members__is_refused_at_once() -> None:
    directory = B.central_part(0) * 1_000_000
    data = B.local_part() + directory
    data += end_records64(1_000_000, len(directory), len(B.local_part())) + ALL_ONES
    begun = time.process_time()
    assert refusal(data).status == 413
    assert time.process_time() - begun < 0.5


def test_zip__whose_directory_is_too_large__is_413() -> None:
    assert refusal(forged(A, B), Bounds(directory=len(DIRECTORY) - 1)).status == 413


def test_zip__that_takes_too_long__is_413() -> None:
    now = iter(range(100))
    data = forged(A, B)
    with pytest.raises(UploadRefused, match="takes more than 3 seconds") as refused:
        Zip(io.BytesIO(data), len(data), Budget(Bounds(seconds=3), len(data), lambda: next(now)))
    assert refused.value.status == 413


def test_zip__whose_sizes_lie__is_not_inflated_beyond_them() -> None:
    """A bomb that claims to be small costs what it claims."""
    lie = {"size": 10}
    data = forged(Entry(b"zeros", bytes(16 << 20), method=8, central=lie, local=lie))
    begun = time.process_time()
    assert "not as long as" in refusal(data).reason
    assert time.process_time() - begun < 0.5


def test_zip__read_in_small_pieces__is_the_same() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(7, size) if size and size > 0 else 7)

    data = forged(A, B)
    archive = Zip(Slow(data), len(data), Budget(Bounds(), len(data)))
    assert {path: b"".join(archive.pieces(member)) for path, member in archive.members.items()} == contents(data)


# -- whatever comes


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda data: data + end_record(1, 0, len(data))))
def test_zip__any_bytes__are_read_or_refused(data: bytes) -> None:
    assert in_one_line(why_refused(lambda: contents(data)))


SOUND = [
    TAKEN[name] for name in ("stored and deflated", "folders", "zip64 sizes", "zip64 end alone", "zip in zip, stored")
]


def flipped(data: bytes, changes: list[tuple[float, int]]) -> bytes:
    altered = bytearray(data)
    for where, value in changes:
        altered[int(where * len(data))] = value
    return bytes(altered)


@settings(max_examples=200)
@given(
    st.sampled_from(SOUND),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=3),
)
def test_zip__altered__is_refused_or_what_zipfile_reads(data: bytes, changes: list[tuple[float, int]]) -> None:
    altered = flipped(data, changes)
    try:
        found = contents(altered)
    except UploadRefused:
        return
    with zipfile.ZipFile(io.BytesIO(altered)) as archive:
        assert archive.testzip() is None
        assert {info.filename.removesuffix("/"): archive.read(info) for info in archive.infolist()} == found


def names_in_a_row(data: bytes) -> list[bytes]:
    """What a reader sees that never looks at the central directory, but goes from one local header to the next."""
    found, at = [], 0
    while data.startswith(b"PK\3\4", at):
        packed, _, named, extras = struct.unpack_from("<LLHH", data, at + 18)
        found.append(data[at + 30 : at + 30 + named])
        at += 30 + named + extras + packed
    assert data.startswith((b"PK\1\2", b"PK\5\6"), at), "not at the central directory"
    return found


@pytest.mark.parametrize("name", [name for name in TAKEN if "zip64" not in name])
def test_zip__read_from_its_front__has_the_same_members(name: str) -> None:
    assert [raw.decode().removesuffix("/") for raw in names_in_a_row(TAKEN[name])] == list(contents(TAKEN[name]))
