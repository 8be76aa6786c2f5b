"""Uploaded sdists: one folder, PKG-INFO at its top, and nothing that leads out."""

from __future__ import annotations

import tarfile

import pytest

from pyproxy.upload.bounds import Bounds
from pyproxy.upload.refusal import UploadRefused
from tests.upload.building import (
    METADATA,
    PKG_INFO,
    SDIST,
    SETUP,
    STEM,
    examined,
    header,
    member,
    packed,
    pax,
    raw_file,
    raw_sdist,
    sdist,
    tarred,
    zipped,
)

ZIP = f"{STEM}.zip"


def refusal(content: bytes, filename: str = SDIST, bounds: Bounds | None = None) -> UploadRefused:
    with pytest.raises(UploadRefused) as refused:
        examined(content, filename, bounds=bounds)
    assert refused.value.reason.isprintable()
    return refused.value


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_sdist__sound__says_what_it_is(form: int) -> None:
    found = examined(sdist(form=form), SDIST)
    assert (found.filename, found.package_type) == (SDIST, "sdist")
    assert (found.project, found.name, found.version, found.requires_python) == ("foo-bar", "Foo.Bar", "1.0", ">=3.9")
    assert found.metadata == METADATA


def test_sdist__zip__says_what_it_is() -> None:
    found = examined(zipped({f"{STEM}/": b"", f"{STEM}/PKG-INFO": METADATA, f"{STEM}/setup.py": b""}), ZIP)
    assert (found.package_type, found.project, found.metadata) == ("sdist", "foo-bar", METADATA)


@pytest.mark.parametrize(
    ("filename", "top"),
    [
        (SDIST, "Foo.Bar-1.0"),
        (SDIST, "foo-bar-1.0"),
        (SDIST, "foo_bar-1.0.0"),
        ("Foo-Bar-1.0.tar.gz", "foo_bar-1.0"),
        ("Foo.Bar-1.0.tar.gz", "Foo.Bar-1.0"),
        ("foo_bar-1.0.0.tar.gz", "foo_bar-1.0"),
    ],
)
def test_sdist__of_a_name_in_another_spelling__is_taken(filename: str, top: str) -> None:
    assert examined(packed(tarred(member(f"{top}/PKG-INFO", METADATA))), filename).project == "foo-bar"


@pytest.mark.parametrize(
    "content",
    [
        sdist(member(STEM, kind=tarfile.DIRTYPE), member(STEM, kind=tarfile.DIRTYPE), member(f"{STEM}/a/b")),
        sdist(member(f"{STEM}/{STEM}.egg-info/PKG-INFO", b"another"), member(f"{STEM}/a/PKG-INFO", b"another")),
        packed(tarred(PKG_INFO, SETUP, member(f"{STEM}/link", kind=tarfile.LNKTYPE, link=f"{STEM}/setup.py"))),
        sdist(member(f"{STEM}/link", kind=tarfile.SYMTYPE, link="setup.py")),
        sdist(member(f"{STEM}/link", kind=tarfile.SYMTYPE, link="./setup.py")),
        sdist(member(f"{STEM}/link", kind=tarfile.SYMTYPE, link="missing/too")),
        sdist(member(f"{STEM}/a/b/link", kind=tarfile.SYMTYPE, link="../../setup.py")),
        sdist(member(f"{STEM}/a/b/link", kind=tarfile.SYMTYPE, link="..")),
        sdist(member(f"{STEM}/a/b/link", kind=tarfile.SYMTYPE, link="../..")),
        raw_sdist(pax(("comment", "0" * 40), kind=b"g")),
    ],
)
def test_sdist__in_the_ways_that_tools_build_it__is_taken(content: bytes) -> None:
    assert examined(content, SDIST).metadata == METADATA


def link(target: str, name: str = f"{STEM}/link") -> bytes:
    return sdist(member(name, kind=tarfile.SYMTYPE, link=target))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (packed(tarred(SETUP)), "has no PKG-INFO in its folder"),
        (packed(tarred()), "has no PKG-INFO in its folder"),
        (packed(tarred(member(f"{STEM}/PKG-INFO", kind=tarfile.DIRTYPE))), "has no PKG-INFO in its folder"),
        (packed(tarred(member(f"{STEM}/a/PKG-INFO", METADATA))), "has no PKG-INFO in its folder"),
        (packed(tarred(member(f"{STEM}/pkg-info", METADATA))), "has no PKG-INFO in its folder"),
        (
            packed(tarred(SETUP, member(f"{STEM}/PKG-INFO", kind=tarfile.LNKTYPE, link=f"{STEM}/setup.py"))),
            "has no PKG-INFO in its folder",
        ),
        (packed(tarred(member(f"{STEM}/PKG-INFO", kind=tarfile.SYMTYPE, link="setup.py"))), "has no PKG-INFO"),
        (sdist(PKG_INFO), "PKG-INFO' twice"),
        (sdist(member("PKG-INFO", METADATA)), "'PKG-INFO' lies outside"),
        (sdist(member("other/file")), "has one folder, foo_bar-1.0, not 'other'"),
        (sdist(member(f"{STEM}.1/file")), "has one folder, foo_bar-1.0, not 'foo_bar-1.0.1'"),
        (sdist(member("Foo_Bar-1.0/file")), "has one folder, foo_bar-1.0, not 'foo_bar-1.0'"),
        (sdist(member("foo_bar/file")), "has one folder"),
        (sdist(member(STEM, kind=tarfile.SYMTYPE, link="etc")), "lies outside"),
        (sdist(member(f"./{STEM}/file")), "harmful name"),
        (sdist(member("/etc/passwd")), "harmful name"),
        (sdist(member(f"{STEM}/../../etc/passwd")), "harmful name"),
        (sdist(member(f"{STEM}\\..\\file")), "harmful name"),
        (sdist(member(f"{STEM}/a\nb")), "harmful name"),
        (raw_sdist(pax(("path", "/etc/passwd")) + raw_file(b"a")), "harmful name"),
        (raw_sdist(pax(("path", "../a")) + raw_file(b"a")), "harmful name"),
        (raw_sdist(raw_file(b"")), "harmful name"),
        (sdist(member(f"{STEM}/Setup.py")), "the same file on some systems"),
        (sdist(member(f"{STEM}/setup.py/a")), "is a file and a folder"),
        (sdist(member(f"{STEM}/null", kind=tarfile.CHRTYPE)), "a device"),
        (sdist(member(f"{STEM}/fifo", kind=tarfile.FIFOTYPE)), "a device"),
        (link("/etc/passwd"), "harmful name"),
        (link(".."), "leads out of the sdist's folder"),
        (link("../other"), "leads out of the sdist's folder"),
        (link("./../other"), "leads out of the sdist's folder"),
        (link("../../etc", f"{STEM}/a/link"), "leads out of the sdist's folder"),
        (link("a/../../b"), "harmful name"),
        (link("a/.."), "harmful name"),
        (link(""), "harmful name"),
        (link("../" * 100), "leads out of the sdist's folder"),
        (link("a/" * 100), "too long"),
        (link("a" * 2000), "too long"),
        (link("././.."), "harmful name"),
        (link("..\\..\\b"), "harmful name"),
        (link("C:/b"), "harmful name"),
        (sdist(member(f"{STEM}/a", kind=tarfile.SYMTYPE, link="b"), member(f"{STEM}/a/c")), "is a file and a folder"),
        (
            sdist(member(f"{STEM}/a", kind=tarfile.LNKTYPE, link=f"{STEM}/missing")),
            "a link to what is not in the archive",
        ),
        (sdist(member(f"{STEM}/a", kind=tarfile.LNKTYPE, link="/etc/passwd")), "a link to what is not in the archive"),
        (sdist(member(f"{STEM}/a", kind=tarfile.LNKTYPE, link="setup.py")), "a link to what is not in the archive"),
        (
            sdist(
                member(f"{STEM}/s", kind=tarfile.SYMTYPE, link="b"),
                member(f"{STEM}/h", kind=tarfile.LNKTYPE, link=f"{STEM}/s"),
            ),
            "a link to what is not in the archive",
        ),
        (packed(tarred(member(f"{STEM}/PKG-INFO", METADATA.replace(b"Foo.Bar", b"foo")))), "PKG-INFO says foo"),
        (packed(tarred(member(f"{STEM}/PKG-INFO", METADATA.replace(b"1.0", b"1.1")))), "PKG-INFO says 1.1"),
        (packed(tarred(member(f"{STEM}/PKG-INFO", METADATA + b"\xff"))), "PKG-INFO is not UTF-8"),
        (packed(tarred(member(f"{STEM}/PKG-INFO", bytes(5 << 20)))), "larger than 4096 KiB"),
        (packed(header(f"{STEM}/PKG-INFO".encode(), 9) + b"Name: foo"), "tar archive is cut"),
    ],
)
def test_sdist__that_is_none_or_harmful__is_refused(content: bytes, why: str) -> None:
    error = refusal(content)
    assert (error.status, why.lower() in error.reason.lower()) == (400, True), error.reason


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({f"{STEM}/setup.py": b""}, "has no PKG-INFO in its folder"),
        ({}, "has no PKG-INFO in its folder"),
        ({f"{STEM}/PKG-INFO/": b""}, "has no PKG-INFO in its folder"),
        ({"PKG-INFO": METADATA}, "lies outside"),
        ({f"{STEM}/PKG-INFO": METADATA, "other/a": b""}, "has one folder, foo_bar-1.0, not 'other'"),
        ({f"{STEM}/PKG-INFO": METADATA, f"{STEM}/../a": b""}, "harmful name"),
        ({f"{STEM}/PKG-INFO": METADATA, f"{STEM}/pkg-info": METADATA}, "the same file"),
        ({f"{STEM}/PKG-INFO": METADATA.replace(b"1.0", b"1.1")}, "PKG-INFO says 1.1"),
    ],
)
def test_sdist__zip_that_is_none_or_harmful__is_refused(files: dict[str, bytes], why: str) -> None:
    error = refusal(zipped(files), ZIP)
    assert (error.status, why in error.reason) == (400, True), error.reason


def test_sdist__zip_damaged_anywhere__is_refused() -> None:
    content = zipped({f"{STEM}/PKG-INFO": METADATA, f"{STEM}/setup.py": b"some code"})
    at = content.rindex(b"setup.py", 0, content.index(b"PK\1\2")) + len("setup.py")
    assert "setup.py" in refusal(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :], ZIP).reason


def test_sdist__bomb__is_413() -> None:
    bounds = Bounds(inflated=4 << 20)
    assert refusal(sdist(member(f"{STEM}/zeros", bytes(5 << 20))), bounds=bounds).status == 413
    assert refusal(zipped({f"{STEM}/zeros": bytes(5 << 20)}), ZIP, bounds).status == 413


def test_sdist__names_without_end__are_413() -> None:
    assert refusal(sdist(member(f"{STEM}/{'a' * 200}")), bounds=Bounds(directory=100)).status == 413
