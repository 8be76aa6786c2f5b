"""Core metadata out of wheels: byte for byte what zipfile reads, in few reads, and one kind of error for the rest."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyproxy.errors import MetadataUnreadable, RemoteFailed
from pyproxy.model import Filename, as_filename
from pyproxy.wheel import metadata_by_ranges, metadata_in
from pyproxy.wheel.directory import DIRECTORY_LIMIT, MEMBERS_LIMIT
from pyproxy.wheel.member import METADATA_LIMIT
from tests.archives import MEMBER, METADATA, Entry, built, end_record, forged

FILENAME = as_filename("foo_bar-1.0-py3-none-any.whl")


def noise(length: int) -> bytes:
    """Bytes that do not compress."""
    return b"".join(zlib.crc32(b"%d" % i).to_bytes(4, "little") for i in range(length // 4))


@dataclass(slots=True)
class Elsewhere:
    """A wheel that is read by ranges; counts the reads."""

    content: bytes
    reads: list[tuple[int, int]] = field(default_factory=list)

    async def read(self, start: int, length: int) -> bytes:
        assert start >= 0, "before the file"
        assert length > 0, "nothing asked for"
        assert start + length <= len(self.content), "behind the file"
        self.reads.append((start, length))
        return self.content[start : start + length]

    async def metadata(self, filename: Filename = FILENAME) -> bytes:
        return await metadata_by_ranges(self.read, len(self.content), filename)


def whole(content: bytes, filename: Filename = FILENAME) -> bytes:
    return metadata_in(io.BytesIO(content), filename)


# -- what is read


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_metadata__stored_or_deflated__is_the_member_byte_for_byte(method: int) -> None:
    assert whole(built(("foo_bar/__init__.py", b"x = 1"), (MEMBER, METADATA), method=method)) == METADATA


def test_metadata__forged_by_hand__is_a_sound_archive() -> None:
    content = forged(Entry(method=8))
    assert zipfile.ZipFile(io.BytesIO(content)).read(MEMBER) == METADATA
    assert whole(content) == METADATA


@pytest.mark.parametrize(
    ("filename", "folder"),
    [
        ("foo_bar-1.0-py3-none-any.whl", "foo_bar-1.0"),
        ("foo_bar-1.0-1-py3-none-any.whl", "foo_bar-1.0"),
        ("Foo.Bar-1.0-py3-none-any.whl", "foo_bar-1.0"),
        ("foo_bar-1.0-py3-none-any.whl", "Foo-Bar-1.0"),
        ("foo_bar-1.0-py3-none-any.whl", "foo--bar-1.0.0"),
        ("foo_bar-1.0.post1-py3-none-any.whl", "foo_bar-1.0-1"),
        ("foo_bar-1.0+cpu.1-py3-none-any.whl", "foo_bar-1.0+cpu_1"),
        ("foo_bar-1!2.0rc1-py3-none-any.whl", "foo_bar-1!2.0.rc1"),
        ("foo_bar-2004d_final-py3-none-any.whl", "foo_bar-2004d-final"),
    ],
)
def test_metadata__dist_info_of_old_tools__is_found(filename: str, folder: str) -> None:
    assert whole(built((f"{folder}.dist-info/METADATA", METADATA)), as_filename(filename)) == METADATA


@pytest.mark.parametrize(
    "name",
    [
        "foo_bar-2.0.dist-info/METADATA",
        "foo-1.0.dist-info/METADATA",
        "foo_bar_baz-1.0.dist-info/METADATA",
        "foo_bar.dist-info/METADATA",
        "vendored/foo_bar-1.0.dist-info/METADATA",
        "/foo_bar-1.0.dist-info/METADATA",
        "foo_bar-1.0.dist-info/sub/METADATA",
        "foo_bar-1.0.dist-info/metadata",
        "foo_bar-1.0.dist-info/METADATA/",
        "foo_bar-1.0.dist-info\\METADATA",
        "foo_bar-1.0.egg-info/METADATA",
        "foo_bar-1.0/METADATA",
        # As many places where the name might end as a member's name has room for: must not take for ever.
        "foo_bar" + "-" * 60_000 + "1.0.dist-info/METADATA",
    ],
    ids=lambda name: name[:50],
)
def test_metadata__anywhere_else__is_none(name: str) -> None:
    with pytest.raises(MetadataUnreadable, match="no METADATA in a dist-info folder of foo-bar"):
        whole(built((name, METADATA)))


def test_metadata__vendored_dist_info__does_not_stand_in_its_way() -> None:
    vendored = ("foo_bar/_vendor/other-2.0.dist-info/METADATA", b"Name: other")
    assert whole(built(vendored, (MEMBER, METADATA))) == METADATA


def test_metadata__comment_and_prefix__are_tolerated_as_zipfile_does() -> None:
    content = built((MEMBER, METADATA), comment=b"c" * 65535, prefix=b"#!/bin/sh\nexit\n")
    assert zipfile.ZipFile(io.BytesIO(content)).read(MEMBER) == METADATA
    assert whole(content) == METADATA


def test_metadata__prefix_cut_off_again__is_tolerated_as_zipfile_does() -> None:
    content = forged(Entry(central={"offset": 9}), offset=len(Entry().local_part()) + 9)
    assert whole(content) == METADATA


def test_metadata__offsets_in_zip64_fields__are_followed() -> None:
    wide = struct.pack("<2H3Q", 1, 24, len(METADATA), len(METADATA), 0)
    content = forged(
        Entry(
            extra=struct.pack("<2H2s", 0x5455, 2, b"ab") + wide,
            central={"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "offset": 0xFFFFFFFF},
            local={"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF},
            local_extra=wide[:20],
        ),
        end64={},
        members=0xFFFF, here=0xFFFF, length=0xFFFFFFFF, offset=0xFFFFFFFF,
    )  # fmt: skip
    assert zipfile.ZipFile(io.BytesIO(content)).read(MEMBER) == METADATA
    assert whole(content) == METADATA


def test_metadata__more_members_than_16_bits_count__is_read() -> None:
    content = built(*((f"m/{i}", b"") for i in range(66000)), (MEMBER, METADATA), method=zipfile.ZIP_STORED)
    assert whole(content) == METADATA


def test_metadata__written_to_a_pipe__is_read_though_its_sizes_follow_it() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.written += bytes(data)  # type: ignore[call-overload]  # any buffer, as RawIOBase has it
            return len(memoryview(data))  # type: ignore[arg-type]  # the same

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, METADATA)
    assert pipe.written[6] & 8, "no data descriptor"
    assert whole(pipe.written) == METADATA


def test_metadata__from_a_file_that_reads_a_little_at_a_time__is_read() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(7, size or 0))

    assert metadata_in(Slow(built((MEMBER, METADATA))), FILENAME) == METADATA


# -- how often is asked


async def test_ranges__small_wheel__is_one_read_of_all() -> None:
    away = Elsewhere(built(("foo_bar/data", noise(100_000)), (MEMBER, METADATA)))
    assert await away.metadata() == METADATA
    assert away.reads == [(0, len(away.content))]


async def test_ranges__large_wheel_as_tools_make_it__is_one_read_of_its_tail() -> None:
    away = Elsewhere(built(("foo_bar/data", noise(2_000_000)), (MEMBER, METADATA), comment=b"c" * 50_000))
    assert await away.metadata() == METADATA
    assert len(away.reads) == 1
    assert away.reads[0][1] < 70_000


async def test_ranges__metadata_at_the_front__is_two_reads() -> None:
    away = Elsewhere(built((MEMBER, METADATA), ("foo_bar/data", noise(2_000_000))))
    assert await away.metadata() == METADATA
    assert len(away.reads) == 2
    assert away.reads[1][0] == 0


async def test_ranges__directory_longer_than_the_tail__is_fetched_with_metadata_in_front_of_it() -> None:
    many = [(f"foo_bar/{'sub' * 20}/{i}.py", b"") for i in range(2000)]
    away = Elsewhere(built(("foo_bar/data", noise(1_000_000)), *many, (MEMBER, METADATA), ("RECORD", noise(50_000))))
    assert await away.metadata() == METADATA
    assert len(away.reads) == 2


async def test_ranges__directory_longer_than_the_tail_and_metadata_at_the_front__is_three_reads() -> None:
    many = [(f"foo_bar/{'sub' * 20}/{i}.py", b"") for i in range(2000)]
    away = Elsewhere(built((MEMBER, METADATA), ("foo_bar/data", noise(1_000_000)), *many))
    assert await away.metadata() == METADATA
    assert len(away.reads) == 3


async def test_ranges__long_local_extra_field__costs_a_read_more() -> None:
    padded = Entry(local_extra=struct.pack("<2H", 0xD935, 60_000) + bytes(60_000))
    away = Elsewhere(forged(padded, Entry(name=b"foo_bar/data", body=noise(1_000_000))))
    assert await away.metadata() == METADATA
    assert len(away.reads) == 3


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda _: b""])
async def test_ranges__answer_of_another_length__is_unreadable(change: Callable[[bytes], bytes]) -> None:
    away = Elsewhere(built(("foo_bar/data", noise(400_000)), (MEMBER, METADATA)))

    async def read(start: int, length: int) -> bytes:
        return change(await away.read(start, length))

    with pytest.raises(MetadataUnreadable, match="bytes of the archive"):
        await metadata_by_ranges(read, len(away.content), FILENAME)


async def test_ranges__failing_remote__is_told_as_it_failed() -> None:
    async def read(_start: int, _length: int) -> bytes:
        raise RemoteFailed("public", "timed out")

    with pytest.raises(RemoteFailed, match="timed out"):
        await metadata_by_ranges(read, 1000, FILENAME)


async def test_ranges__odd_file_name__asks_for_nothing() -> None:
    away = Elsewhere(built((MEMBER, METADATA)))
    for name in ("foo-1.0.tar.gz", "foo.whl", "foo-1.0.whl", "foo-1.0-1-2-py3-none-any.whl", "foo--py3-none-any.whl"):
        with pytest.raises(MetadataUnreadable, match="file name"):
            await away.metadata(as_filename(name))
    assert away.reads == []


# -- what is refused


def _twice() -> bytes:
    return forged(Entry(), Entry(body=b"Name: other"))


def _after(content: bytes, more: bytes) -> bytes:
    return content + more


LIMIT = METADATA_LIMIT
BOMB = Entry(method=8, body=bytes(LIMIT + 1))
HIDDEN = Entry(name=b"x", extra=b"up\x23\0\x01abcd" + MEMBER.encode())
MANY = {"here": 1 << 20, "members": 1 << 20}
WIDE = {"offset": 0xFFFFFFFF}
GOOD = built((MEMBER, METADATA))

REFUSED: Sequence[tuple[str, bytes, str]] = [
    ("nothing", b"", "too short"),
    ("no zip at all", b"<html>" * 1000, "not a zip archive"),
    ("cut", GOOD[:-1], "cut"),
    ("front missing", GOOD[20:], "outside"),
    ("something behind", _after(GOOD, b"x"), "behind its end"),
    ("zip in the comment", built((MEMBER, METADATA), comment=built((MEMBER, b"Name: other"))), "two end records"),
    ("METADATA twice", _twice(), "twice"),
    ("dist-info twice", forged(Entry(), Entry(name=b"Foo-Bar-1.0.dist-info/RECORD")), "twice"),
    ("name cut by NUL", forged(Entry(), Entry(name=MEMBER.encode() + b"\0.txt")), "two names"),
    ("name in an extra field", forged(Entry(), HIDDEN), "two names"),
    ("too many dist-info", forged(Entry(), *(Entry(name=b"a-%d.dist-info/R" % i) for i in range(101))), "too many"),
    ("encrypted", forged(Entry(flags=1)), "encrypted"),
    ("encrypted, told late", forged(Entry(local={"flags": 1})), "encrypted"),
    ("encrypted, told early", forged(Entry(central={"flags": 1})), "encrypted"),
    ("strongly encrypted", forged(Entry(flags=0x41)), "encrypted"),
    ("bzip2", built((MEMBER, METADATA), method=zipfile.ZIP_BZIP2), "method 12"),
    ("lzma", built((MEMBER, METADATA), method=zipfile.ZIP_LZMA), "method 14"),
    ("bomb that tells its size", forged(BOMB), "larger than 4 MiB"),
    ("bomb that lies", forged(replace(BOMB, central={"size": 100}, local={"size": 100})), "as promised"),
    ("padding of empty blocks", forged(replace(BOMB, body=b"", data=bytes(5) * LIMIT)), "larger than 4 MiB"),
    ("shorter than told", forged(Entry(method=8, central={"size": 999}, local={"size": 999})), "as promised"),
    ("stored, sizes differ", forged(Entry(central={"size": 9}, local={"size": 9})), "as promised"),
    ("junk behind the stream", forged(Entry(method=8, data=Entry(method=8).packed() + b"junk")), "as promised"),
    ("stream cut", forged(Entry(method=8, data=Entry(method=8).packed()[:-3])), "as promised"),
    ("stream damaged", forged(Entry(method=8, data=b"\xff" * 30)), "damaged"),
    ("wrong CRC", forged(Entry(central={"crc": 1}, local={"crc": 1})), "CRC"),
    ("local name differs", forged(Entry(local_name=b"x" * len(MEMBER))), "contradict"),
    ("local method differs", forged(Entry(local={"method": 8})), "contradict"),
    ("local CRC differs", forged(Entry(local={"crc": 1})), "contradict"),
    ("local size differs", forged(Entry(local={"size": 1})), "contradict"),
    ("no local header", forged(Entry(name=b"x"), Entry(central={"offset": 3})), "local header is damaged"),
    ("local header behind the directory", forged(Entry(central={"offset": 1 << 30})), "outside"),
    ("data into the directory", forged(Entry(local={"extras": 9})), "reaches into"),
    ("header up to the directory", forged(Entry(local={"extras": 0xFFFF})), "reaches into"),
    ("other disk", forged(Entry(central={"disk": 1})), "outside"),
    ("several volumes", forged(Entry(), disk=1), "volumes"),
    ("members on other volumes", forged(Entry(), here=0), "volumes"),
    ("too few members", forged(Entry(), here=2, members=2), "number of members"),
    ("too many members", forged(Entry(), Entry(name=b"x"), here=1, members=1), "number of members"),
    ("directory too long", forged(Entry(), length=DIRECTORY_LIMIT + 1), "too large"),
    ("directory before the file", forged(Entry(), length=100_000), "in front"),
    ("directory cut in its last entry", forged(Entry(central={"extras": 9})), "directory is cut"),
    ("directory cut in its first", forged(Entry(), length=len(Entry().central_part(0)) - 1), "damaged"),
    ("zip64: too many members", forged(Entry(), end64=MANY, here=0xFFFF, members=0xFFFF), "too large"),
    ("zip64: other truth", forged(Entry(), end64={}, offset=7), "contradict"),
    ("zip64: other place", forged(Entry(), end64={"where": 7}), "locator"),
    ("zip64: long record", forged(Entry(), end64={"nbytes": 45}), "locator"),
    ("zip64: volumes", forged(Entry(), end64={"disks": 2}), "volumes"),
    ("zip64: volumes, told late", forged(Entry(), end64={"disk": 1}), "volumes"),
    ("zip64: field missing", forged(Entry(central=WIDE)), "zip64 field"),
    ("zip64: field short", forged(Entry(central=WIDE, extra=struct.pack("<2HL", 1, 4, 0))), "zip64 field"),
    ("zip64: offset absurd", forged(Entry(central=WIDE, extra=struct.pack("<2HQ", 1, 8, 2**63))), "outside"),
    ("zip64: record missing", b"PK\x06\x07" + bytes(16) + end_record(0, 0, 0), "missing"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "why"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_refused__whole_or_by_ranges__says_why_in_one_line(content: bytes, why: str) -> None:
    with pytest.raises(MetadataUnreadable, match=why) as local:
        whole(content)
    with pytest.raises(MetadataUnreadable) as remote:
        await Elsewhere(content).metadata()
    assert str(local.value) == str(remote.value)
    assert "\n" not in str(local.value)


def test_refused__a_million_members__is_cheap() -> None:
    entry = Entry(name=b"", body=b"").central_part(0)
    directory = entry * (MEMBERS_LIMIT + 2)
    with pytest.raises(MetadataUnreadable, match="number of members"):
        whole(directory + end_record(3, len(directory), 0))


# -- properties


@given(st.binary(max_size=300))
def test_property__random_bytes__raise_one_kind_of_error(content: bytes) -> None:
    with pytest.raises(MetadataUnreadable):
        whole(content)


SOUND = forged(
    Entry(name=b"foo_bar/a.py", body=b"x", method=8),
    Entry(method=8, extra=struct.pack("<2HQ", 1, 8, 0), local_extra=b"ab\0\0"),
    end64={},
)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@example([(len(SOUND) - 1, 255)])
def test_property__damaged_archive__gives_the_true_bytes_or_one_kind_of_error(damage: list[tuple[int, int]]) -> None:
    content = bytearray(SOUND)
    for at, value in damage:
        content[at] = value
    try:
        found = whole(bytes(content))
    except MetadataUnreadable:
        return
    # Four bytes cannot forge a CRC by chance; what is found otherwise is what nothing ever pointed at.
    assert found == METADATA


NAMES = st.text("abc/._-é", min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    before=st.lists(st.tuples(NAMES, st.binary(max_size=50)), max_size=4, unique_by=lambda member: member[0]),
    after=st.lists(st.tuples(NAMES, st.binary(max_size=50)), max_size=4, unique_by=lambda member: member[0]),
    body=st.binary(max_size=500),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    comment=st.binary(max_size=100).filter(lambda comment: b"PK\x05\x06" not in comment),
    prefix=st.binary(max_size=100),
    padding=st.sampled_from([0, 200_000]),
)
async def test_property__any_archive_of_zipfile__gives_the_bytes_that_zipfile_gives(
    *,
    before: list[tuple[str, bytes]],
    after: list[tuple[str, bytes]],
    body: bytes,
    method: int,
    comment: bytes,
    prefix: bytes,
    padding: int,
) -> None:
    members = [*(("1" + name, data) for name, data in before), (MEMBER, body)]
    members += [("foo_bar/data", bytes(padding)), *(("2" + name, data) for name, data in after)]
    content = built(*members, method=method, comment=comment, prefix=prefix)
    expected = zipfile.ZipFile(io.BytesIO(content)).read(MEMBER)
    assert whole(content) == expected == body
    assert await Elsewhere(content).metadata() == expected
