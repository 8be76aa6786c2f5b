"""Uploaded wheels: one dist-info folder, METADATA as it is, and a RECORD that is right."""

from __future__ import annotations

import io

import pytest

from pyproxy import wheel as wheels
from pyproxy.model import as_filename
from pyproxy.upload.bounds import Bounds
from pyproxy.upload.refusal import UploadRefused
from tests.archives import Entry
from tests.upload.building import (
    INFO,
    METADATA,
    MODULE,
    STEM,
    TAGS,
    WHEEL,
    digest,
    examined,
    forged_wheel,
    record,
    wheel,
    wheel_files,
    zipped,
)


def refusal(content: bytes, filename: str = WHEEL, bounds: Bounds | None = None) -> UploadRefused:
    with pytest.raises(UploadRefused) as refused:
        examined(content, filename, bounds=bounds)
    assert refused.value.reason.isprintable()
    return refused.value


def test_wheel__sound__says_what_it_is() -> None:
    found = examined(wheel())
    assert (found.filename, found.package_type) == (WHEEL, "bdist_wheel")
    assert (found.project, found.name, found.version, found.requires_python) == ("foo-bar", "Foo.Bar", "1.0", ">=3.9")
    assert found.metadata == METADATA


def test_wheel__its_metadata__is_what_is_read_of_it_later() -> None:
    content = wheel(metadata=METADATA + "ü\r\n\n".encode())
    assert examined(content).metadata == wheels.metadata_in(io.BytesIO(content), as_filename(WHEEL))


@pytest.mark.parametrize(
    "content",
    [
        wheel(("foo_bar/_vendor/other-2.0.dist-info/METADATA", b"Name: other")),
        wheel(("foo_bar/embedded-1.0-py3-none-any.whl", wheel())),
        wheel((f"{STEM}.data/scripts/foo", b"#!python\n")),
        wheel((f"{INFO}/RECORD.jws", b"{}"), rows={"RECORD.jws": ""}),
        wheel((f"{INFO}/RECORD.p7s", b"{}")),
        wheel(("foo_bar/a, b.py", b""), rows={"a, b.py": f'"foo_bar/a, b.py",{digest(b"")},0'}),
        wheel(rows={"__init__.py": f"{MODULE[0]},{digest(MODULE[1])},"}),
        wheel(rows={"__init__.py": f"{MODULE[0]},{digest(MODULE[1])}"}),
        wheel(rows={"__init__.py": f"{MODULE[0]},{digest(MODULE[1])}=,{len(MODULE[1])}"}),
        wheel(rows={"__init__.py": f"{MODULE[0]},{digest(MODULE[1], 'sha512')},{len(MODULE[1])}"}),
        wheel(rows={"__init__.py": f"{MODULE[0]},{digest(MODULE[1], 'sha384')},{len(MODULE[1])}\r"}),
        wheel(rows={"__init__.py": f"{MODULE[0]},{digest(MODULE[1])},{len(MODULE[1])}\n\nfoo_bar/,,"}),
        zipped({"foo_bar/": b"", **wheel_files(), f"{INFO}/": b"", f"{INFO}/RECORD": record(wheel_files())}),
        zipped({**wheel_files(), f"{INFO}/RECORD": record(wheel_files(), own=None)}),
        forged_wheel(Entry("foo_bar/ü.txt".encode(), b"", flags=0x800)),
    ],
)
def test_wheel__in_the_ways_that_tools_build_it__is_taken(content: bytes) -> None:
    assert examined(content).project == "foo-bar"


@pytest.mark.parametrize(
    ("filename", "info", "spelled"),
    [
        ("Foo.Bar-1.0-py3-none-any.whl", "Foo.Bar-1.0", "1.0"),
        ("foo_bar-1.0-1-py3-none-any.whl", "foo_bar-1.0", "1.0"),
        ("foo_bar-1.0-2local-py2.py3-none-any.whl", "foo_bar-1.0", "1.0"),
        ("foo_bar-1.0.post1-py3-none-any.whl", "foo_bar-1.0.post1", "1.0-1"),
        ("foo_bar-1!1.0+cpu-py3-none-any.whl", "foo_bar-1!1.0+cpu", "1!1.0+CPU"),
    ],
)
def test_wheel__of_a_name_in_another_spelling__is_taken(filename: str, info: str, spelled: str) -> None:
    metadata = METADATA.replace(b"1.0", spelled.encode())
    files = wheel_files(info=f"{info}.dist-info", metadata=metadata)
    own = f"{info}.dist-info/RECORD"
    assert examined(zipped({**files, own: record(files, own=own)}), filename).version == spelled


def of(info: str = INFO, metadata: bytes | None = METADATA, tags: bytes | None = TAGS) -> bytes:
    files = wheel_files(info=info, metadata=metadata, tags=tags)
    return zipped({**files, f"{info}/RECORD": record(files, own=f"{info}/RECORD")})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (of(info="foo_bar-2.0.dist-info"), "has the folder foo_bar-1.0.dist-info, not 'foo_bar-2.0.dist-info'"),
        (of(info="Foo.Bar-1.0.dist-info"), "has the folder foo_bar-1.0.dist-info, not 'Foo.Bar-1.0.dist-info'"),
        (of(info="vendor/" + INFO), "has no folder foo_bar-1.0.dist-info"),
        (wheel(("other-1.0.dist-info/METADATA", METADATA)), "not 'other-1.0.dist-info'"),
        (wheel(("foo_bar-1.0.DIST-INFO/x", b"")), "not 'foo_bar-1.0.DIST-INFO'"),
        (wheel(("other.dist-info", b"")), "not 'other.dist-info'"),
        (zipped({MODULE[0]: b""}), "has no folder foo_bar-1.0.dist-info"),
        (zipped({}), "has no folder foo_bar-1.0.dist-info"),
        (zipped({INFO: b""}), "has no foo_bar-1.0.dist-info/METADATA"),
        (of(metadata=None), "has no foo_bar-1.0.dist-info/METADATA"),
        (zipped({f"{INFO}/METADATA/": b""}), "has no foo_bar-1.0.dist-info/METADATA"),
        (wheel((f"{INFO}/metadata", METADATA)), "the same file on some systems"),
        (of(tags=None), "has no foo_bar-1.0.dist-info/WHEEL"),
        (zipped(wheel_files()), "has no foo_bar-1.0.dist-info/RECORD"),
        (of(metadata=METADATA.replace(b"Foo.Bar", b"foo")), "the file's name says foo-bar, METADATA says foo"),
        (of(metadata=METADATA.replace(b"1.0", b"1.0.1")), "says version 1.0, METADATA says 1.0.1"),
        (of(metadata=METADATA.replace(b"1.0", b"1.0+cpu")), "says version 1.0, METADATA says 1.0+cpu"),
        (of(metadata=METADATA + b"\xff"), "METADATA is not UTF-8"),
        (of(metadata=METADATA.replace(b"Name", b"Name: a\nName")), "METADATA has name twice"),
        (of(metadata=b""), "METADATA has no Metadata-Version"),
        (of(metadata=bytes(5 << 20)), "METADATA' is larger than 4096 KiB"),
        (of(tags=b" " * (5 << 20)), "WHEEL' is larger than 4096 KiB"),
    ],
)
def test_wheel__without_what_makes_it_one__is_refused(content: bytes, why: str) -> None:
    error = refusal(content)
    assert (error.status, why in error.reason) == (400, True), error.reason


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ({"__init__.py": ""}, "'foo_bar/__init__.py' is not in RECORD"),
        ({"METADATA": ""}, "METADATA' is not in RECORD"),
        ({"WHEEL": f"{INFO}/WHEEL,,"}, "gives no digest of 'foo_bar-1.0.dist-info/WHEEL'"),
        ({"__init__.py": f"other.py,{digest(b'')},0"}, "RECORD has 'other.py', which the wheel does not"),
        ({"__init__.py": f"foo_bar/__INIT__.py,{digest(MODULE[1])},6"}, "which the wheel does not"),
        ({"__init__.py": f"{MODULE[0]},{digest(b'other')},6"}, "is not what RECORD says"),
        ({"__init__.py": f"{MODULE[0]},{digest(MODULE[1])},7"}, "is not what RECORD says"),
        ({"__init__.py": f"{MODULE[0]},{digest(MODULE[1])[:-4]},6"}, "is not what RECORD says"),
        ({"__init__.py": f"{MODULE[0]},{digest(MODULE[1])},six"}, "gives no size"),
        ({"__init__.py": f"{MODULE[0]},{digest(MODULE[1])},-6"}, "gives no size"),
        ({"__init__.py": f"{MODULE[0]},{digest(MODULE[1])},{'6' * 5000}"}, "gives no size"),
        ({"__init__.py": f"{MODULE[0]},sha256,6"}, "is not what RECORD says"),
        ({"__init__.py": f"{MODULE[0]},sha256=*,6"}, "no digest of 'foo_bar/__init__.py' that can be read"),
        ({"__init__.py": f"{MODULE[0]},sha256=ü,6"}, "no digest of 'foo_bar/__init__.py' that can be read"),
        ({"__init__.py": f"{MODULE[0]},{digest(MODULE[1], 'md5')},6"}, "that can be trusted"),
        ({"__init__.py": f"{MODULE[0]},{digest(MODULE[1], 'sha1')},6"}, "that can be trusted"),
        ({"__init__.py": f"{MODULE[0]},crc32=AAAA,6"}, "that can be trusted"),
        (
            {"__init__.py": f"{MODULE[0]},{digest(MODULE[1])},6\n{MODULE[0]},{digest(MODULE[1])},6"},
            "'foo_bar/__init__.py' twice",
        ),
        ({"__init__.py": f"{MODULE[0]},{digest(MODULE[1])},6,more"}, "RECORD is no table"),
        ({"__init__.py": f'"{MODULE[0]},{digest(MODULE[1])},6'}, "RECORD is no table"),
        ({"__init__.py": f"{MODULE[0]}{'x' * 200_000},,"}, "RECORD is no table"),
    ],
)
def test_wheel__whose_record_is_wrong__is_refused(rows: dict[str, str], why: str) -> None:
    error = refusal(wheel(rows=rows))
    assert (error.status, why in error.reason) == (400, True), error.reason


def test_wheel__whose_record_is_not_utf_8__is_refused() -> None:
    files = wheel_files()
    assert "RECORD is no table" in refusal(zipped({**files, f"{INFO}/RECORD": record(files) + b"\xff,,\n"})).reason


def test_wheel__whose_record_has_no_end__is_refused_by_its_first_stranger() -> None:
    files = wheel_files()
    content = zipped({**files, f"{INFO}/RECORD": record(files) + b"x,,\n" * 1_000_000})
    assert "which the wheel does not" in refusal(content).reason


def test_wheel__whose_record_is_too_large__is_refused() -> None:
    assert "RECORD' is larger than" in refusal(wheel(), bounds=Bounds(record=100)).reason


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"\x1f\x8b" + bytes(100)])
def test_wheel__that_is_no_archive__is_refused(content: bytes) -> None:
    assert "not a zip archive" in refusal(content).reason


def test_wheel__bomb__is_413_before_it_is_inflated() -> None:
    content = of(metadata=METADATA + b"\n" + bytes(65 << 20))
    assert len(content) < 100_000
    error = refusal(content)
    assert (error.status, error.reason) == (413, "the archive inflates to more than 50 times its size")
