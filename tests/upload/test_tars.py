"""Tar archives of uploads: what two readers might understand differently is not taken."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyproxy.upload.bounds import Bounds, Budget
from pyproxy.upload.refusal import UploadRefused
from pyproxy.upload.tars import Tar, TarMember
from tests.upload.building import (
    TAR_END,
    block_of,
    header,
    in_one_line,
    member,
    packed,
    pax,
    raw_file,
    summed,
    tarred,
    why_refused,
)


def members(data: bytes, bounds: Bounds | None = None) -> list[tuple[TarMember, bytes]]:
    """All members and what they hold."""
    archive = Tar(io.BytesIO(data), Budget(bounds or Bounds(), len(data)))
    return [(found, archive.content(1 << 20)) for found in archive.members()]


def refusal(data: bytes, bounds: Bounds | None = None) -> UploadRefused:
    with pytest.raises(UploadRefused) as refused:
        members(data, bounds)
    assert refused.value.reason.isprintable()
    return refused.value


def as_tarfile_reads(data: bytes) -> list[tuple[str, int, bool, str | None, bytes]]:
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            content = archive.extractfile(info) if info.isreg() else None
            link = info.linkname if info.islnk() or info.issym() else None
            found.append((info.name, info.size, info.isdir(), link, content.read() if content else b""))
    return found


def as_we_read(data: bytes) -> list[tuple[str, int, bool, str | None, bytes]]:
    return [
        (found.name.rstrip("/") if found.folder else found.name, found.size, found.folder, found.link, body)
        for found, body in members(data)
    ]


LONG = "a/" * 60 + "b" * 150
EVERYTHING = [
    member("top", kind=tarfile.DIRTYPE),
    member("top/file", b"some bytes" * 100),
    member("top/empty"),
    member("top/ü", b"x" * 512),
    member(f"top/{LONG}", b"long"),
    member("top/symlink", kind=tarfile.SYMTYPE, link="file"),
    member("top/hardlink", kind=tarfile.LNKTYPE, link="top/file"),
    member("top/longlink", kind=tarfile.SYMTYPE, link=LONG),
]
FORMS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}
USTAR = [*EVERYTHING[:4], member("a" * 90 + "/" + "b" * 90, b"prefix")]

TAKEN = {
    **{name: tarred(*EVERYTHING, form=form) for name, form in FORMS.items()},
    "ustar": tarred(*USTAR, form=tarfile.USTAR_FORMAT),
    "no members": tarred(),
    "one empty block at the end": raw_file(b"a") + bytes(512),
    "many empty blocks at the end": raw_file(b"a") + bytes(1 << 20),
    "from before ustar": raw_file(b"a", b"x", magic=b"") + header(b"folder/", kind=b"\0", magic=b""),
    "kind without a name": raw_file(b"a", b"x", kind=b"\0"),
    "size in base 256": header(b"a", size=b"\x80" + (3).to_bytes(11, "big")) + block_of(b"abc"),
    "size with blanks": header(b"a", size=b"          3 ") + block_of(b"abc"),
    "size told twice, alike": pax(("size", "3")) + raw_file(b"a", b"abc"),
    "git's commit": pax(("comment", "0" * 40), kind=b"g") + raw_file(b"a", b"abc"),
    "times and owners": pax(("mtime", "1.5"), ("uid", "1"), ("SCHILY.xattr.user", "x\ny")) + raw_file(b"a", b"abc"),
    "long name and long link": (
        header(b"././@LongLink", 5, b"K")
        + block_of(b"to/b\0")
        + header(b"././@LongLink", 5, b"L")
        + block_of(b"fr/a\0")
        + header(b"cut", kind=b"2", link=b"cut")
    ),
}


@pytest.mark.parametrize("tar", TAKEN.values(), ids=TAKEN)
def test_tar__sound__is_what_tarfile_reads(tar: bytes) -> None:
    data = packed(tar + (b"" if tar.endswith(bytes(512)) else TAR_END))
    assert as_we_read(data) == as_tarfile_reads(data)


def test_tar__content_not_read__is_passed_by() -> None:
    archive = Tar(io.BytesIO(data := packed(TAKEN["pax"])), Budget(Bounds(), len(data)))
    assert [found.name for found in archive.members()] == ["top/", *(info.name for info, _ in EVERYTHING[1:])]


A = raw_file(b"a", b"abc")
GNU_NAME = header(b"././@LongLink", 5, b"L") + block_of(b"long\0")

REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is cut"),
    "html": (b"<!DOCTYPE html>", "not a gzip archive"),
    "zip": (b"PK\3\4" + bytes(100), "not a gzip archive"),
    "tar without gzip": (A + TAR_END, "not a gzip archive"),
    "zlib": (zlib.compress(A + TAR_END), "not a gzip archive"),
    "gzip of something else": (packed(b"x" * 512), "not a tar archive"),
    "gzip of nothing": (packed(b""), "tar archive is cut"),
    "gzip cut": (packed(A + TAR_END)[:-1], "is cut"),
    "gzip with a wrong crc": (packed(A + TAR_END)[:-8] + bytes(8), "damaged"),
    "two gzip members": (packed(A) + packed(TAR_END), "something behind its end"),
    "bytes behind gzip": (packed(A + TAR_END) + b"x", "something behind its end"),
    "zeros behind gzip": (packed(A + TAR_END) + bytes(10), "something behind its end"),
    "much behind gzip": (packed(A + TAR_END) + bytes(1 << 19), "something behind its end"),
    "a second gzip member": (packed(A + TAR_END) * 2, "something behind its end"),
    "no end": (packed(A), "tar archive is cut"),
    "cut in a header": (packed(A + A[:100]), "tar archive is cut"),
    "cut in content": (packed(header(b"a", 600) + bytes(512)), "tar archive is cut"),
    "cut in padding": (packed(header(b"a", 600) + bytes(700)), "tar archive is cut"),
    "members behind the end": (packed(A + TAR_END + A + TAR_END), "something behind its end"),
    "bytes behind the end": (packed(A + TAR_END + b"x"), "something behind its end"),
    "checksum": (packed(A[:148] + b"0000000\0" + A[156:] + TAR_END), "not a tar archive"),
    "checksum no number": (packed(A[:148] + b"checksum" + A[156:] + TAR_END), "not a tar archive"),
    "size no number": (packed(header(b"a", size=b"0x10")), "not a tar archive"),
    "size negative": (packed(header(b"a", size=b"\xff" * 12)), "not a tar archive"),
    "size decimal": (packed(header(b"a", size=b"9")), "not a tar archive"),
    "unknown magic": (packed(raw_file(b"a", magic=b"tsar") + TAR_END), "header of an unknown kind"),
    "ustar of another version": (packed(raw_file(b"a", magic=b"ustar\x0001") + TAR_END), "header of an unknown kind"),
    "prefix, but GNU's": (
        packed(raw_file(b"a", magic=b"ustar  \0", prefix=b"b") + TAR_END),
        "header of an unknown kind",
    ),
    "prefix, but from before ustar": (packed(raw_file(b"a", magic=b"", prefix=b"b") + TAR_END), "header of an unknown"),
    "name not UTF-8": (packed(raw_file(b"\xff") + TAR_END), "not UTF-8"),
    **{
        f"kind {kind.decode()}": (packed(raw_file(b"a", kind=kind) + TAR_END), "a device, or of a kind")
        for kind in (b"3", b"4", b"6", b"7", b"S", b"D", b"M", b"V", b"N", b"A", b"X", b"z")
    },
    "file with a slash": (packed(raw_file(b"a/") + TAR_END), "not the folder that it claims to be"),
    "file with a slash, by pax": (packed(pax(("path", "a/")) + A + TAR_END), "not the folder that it claims to be"),
    "folder with content": (packed(raw_file(b"a", b"x", kind=b"5") + TAR_END), "a folder or a link with content"),
    "symlink with content": (packed(raw_file(b"a", b"x", kind=b"2", link=b"b") + TAR_END), "a link with content"),
    "hard link with content": (packed(raw_file(b"a", b"x", kind=b"1", link=b"b") + TAR_END), "a link with content"),
    "size by pax, smaller": (packed(pax(("size", "0")) + A + TAR_END), "two sizes"),
    "size by pax, larger": (packed(pax(("size", "1024")) + A + A + TAR_END), "two sizes"),
    "size by pax, no number": (
        packed(pax(("size", "-3")) + A + TAR_END),
        "extended header of the tar archive is damaged",
    ),
    "size by pax, empty": (packed(pax(("size", "")) + A + TAR_END), "extended header of the tar archive is damaged"),
    "size for all": (packed(pax(("size", "0"), kind=b"g") + A + TAR_END), "says more than it may"),
    "path for all": (packed(pax(("path", "b"), kind=b"g") + A + TAR_END), "says more than it may"),
    "path twice": (packed(pax(("path", "a"), ("path", "b")) + A + TAR_END), "pax record twice"),
    "path not UTF-8": (packed(header(b"x", 11, b"x") + block_of(b"11 path=\xff\xfe\n") + A + TAR_END), "not UTF-8"),
    "character set": (packed(pax(("hdrcharset", "BINARY")) + A + TAR_END), "another character set"),
    "sparse": (packed(pax(("GNU.sparse.major", "1"), ("GNU.sparse.name", "b")) + A + TAR_END), "is sparse"),
    "pax twice": (packed(pax(("path", "a")) + pax(("path", "b")) + A + TAR_END), "contradict each other"),
    "pax, then for all": (packed(pax(("path", "a")) + pax(("comment", "c"), kind=b"g") + A + TAR_END), "says more"),
    "pax and GNU": (packed(pax(("path", "b")) + GNU_NAME + A + TAR_END), "contradict each other"),
    "GNU and pax": (packed(GNU_NAME + pax(("path", "b")) + A + TAR_END), "contradict each other"),
    "GNU twice": (packed(GNU_NAME * 2 + A + TAR_END), "contradict each other"),
    "pax at the end": (packed(pax(("path", "b")) + TAR_END), "ends behind an extended header"),
    "GNU at the end": (packed(GNU_NAME + TAR_END), "ends behind an extended header"),
    "for all at the end": (packed(A + pax(("comment", "c"), kind=b"g") + TAR_END), "ends behind an extended header"),
    "record without a number": (
        packed(header(b"x", 8, b"x") + block_of(b"path=bc\n") + A),
        "header of the tar archive is dam",
    ),
    "record too short": (
        packed(header(b"x", 9, b"x") + block_of(b"3 path=b\n") + A),
        "header of the tar archive is damaged",
    ),
    "record too long": (
        packed(header(b"x", 9, b"x") + block_of(b"10 path=b") + A),
        "header of the tar archive is dam",
    ),
    "record without its end": (
        packed(header(b"x", 9, b"x") + block_of(b"9 path=bc") + A),
        "header of the tar archive is dam",
    ),
    "record without a value": (
        packed(header(b"x", 7, b"x") + block_of(b"7 path\n") + A),
        "header of the tar archive is dam",
    ),
    "record of nothing": (packed(header(b"x", 2, b"x") + block_of(b"0 ") + A), "header of the tar archive is damaged"),
    "pax with more behind": (
        packed(header(b"x", 9, b"x") + block_of(b"9 path=b\n9 path=c\n") + A + TAR_END),
        "something behind its end",
    ),
    "GNU name with more behind": (
        packed(header(b"x", 4, b"L") + block_of(b"longer") + A + TAR_END),
        "something behind its end",
    ),
    "pax cut": (packed(header(b"x", 600, b"x") + bytes(512)), "tar archive is cut"),
    "pax too large": (packed(header(b"x", 1 << 20, b"x") + bytes(1 << 20)), "too large"),
    "GNU name too large": (packed(header(b"x", 1 << 20, b"L") + bytes(1 << 20)), "too large"),
}


@pytest.mark.parametrize(("data", "why"), REFUSED.values(), ids=REFUSED)
def test_tar__of_two_meanings_or_harmful__is_refused(data: bytes, why: str) -> None:
    error = refusal(data)
    assert (error.status, why in error.reason) == (400, True), error.reason


@pytest.mark.parametrize("name", ["pax", "gnu"])
def test_tar__cut_anywhere__is_refused(name: str) -> None:
    data = packed(TAKEN[name])
    for end in range(len(data)):
        assert refusal(data[:end]).status == 400


# -- bounds


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        (Bounds(inflated=9 << 20), "inflates to more than 9 MiB"),
        (Bounds(ratio_from=1 << 20), "inflates to more than 50 times its size"),
        (Bounds(members=1), "more than 1 members"),
    ],
)
def test_tar__over_a_bound__is_413(bounds: Bounds, why: str) -> None:
    data = packed(tarred(member("zeros", bytes(10 << 20)), member("more")))
    assert len(members_passed(data)) == 2
    with pytest.raises(UploadRefused, match=why) as refused:
        members_passed(data, bounds)
    assert refused.value.status == 413


def members_passed(data: bytes, bounds: Bounds | None = None) -> list[TarMember]:
    return list(Tar(io.BytesIO(data), Budget(bounds or Bounds(), len(data))).members())


def test_tar__of_extended_headers_alone__counts_them() -> None:
    data = packed(pax(("comment", "c"), kind=b"g") * 20 + A + TAR_END)
    assert (refusal(data, Bounds(members=20)).status, len(members(data, Bounds(members=21)))) == (413, 1)


def test_tar__of_a_member_beyond_all_bounds__is_413_before_it_is_read() -> None:
    assert refusal(packed(header(b"a", size=b"\x80" + b"\xff" * 11))).status == 413


def test_tar__zeros_without_end__are_413() -> None:
    data = packed(A + bytes(20 << 20))
    assert refusal(data, Bounds(ratio_from=1 << 20)).status == 413


def test_tar__that_takes_too_long__is_413() -> None:
    now = iter(range(100))
    archive = Tar(io.BytesIO(data := packed(A * 9)), Budget(Bounds(seconds=3), len(data), lambda: next(now)))
    with pytest.raises(UploadRefused, match="takes more than 3 seconds"):
        list(archive.members())


# -- whatever comes


@given(st.binary(max_size=600) | st.binary(max_size=1500).map(packed))
def test_tar__any_bytes__are_read_or_refused(data: bytes) -> None:
    assert in_one_line(why_refused(lambda: members(data)))


def altered(tar: bytes, changes: list[tuple[float, int, int]]) -> bytes:
    """The tar with some bytes changed, at places that matter, and the checksums put right again."""
    blocks = [tar[at : at + 512] for at in range(0, len(tar), 512)]
    for where, offset, value in changes:
        number = int(where * len(blocks))
        block = bytearray(blocks[number])
        is_header = block[257:262] == b"ustar" or block[156] != 0
        block[offset] = value
        blocks[number] = summed(bytes(block)) if is_header and any(block) else bytes(block)
    return b"".join(blocks)


SMALL = [tarred(*EVERYTHING[:4], member("top/" + "n" * 120, b"x"), form=form) for form in FORMS.values()] + [
    pax(("path", "b"), ("size", "3")) + A + header(b"d/", kind=b"5") + GNU_NAME + A + TAR_END
]

PLACES = st.sampled_from(
    [0, 1, 99, 100, *range(124, 136), 156, 157, 257, 262, 263, 264, 345, 346, 499, 511]
) | st.integers(0, 60)


@settings(max_examples=200)
@given(
    st.sampled_from(range(len(SMALL))),
    st.lists(
        st.tuples(st.floats(0, 0.999), PLACES, st.sampled_from(b"\0 /0123567xgLKS=\n\x80\xff") | st.integers(0, 255)),
        min_size=1,
        max_size=4,
    ),
)
def test_tar__altered__is_refused_or_what_tarfile_reads(which: int, changes: list[tuple[float, int, int]]) -> None:
    data = gzip.compress(altered(SMALL[which], changes), 1)
    try:
        found = as_we_read(data)
    except UploadRefused:
        return
    assert found == as_tarfile_reads(data)
