"""Core metadata: one meaning for every reader, or none."""

from __future__ import annotations

from email.parser import BytesParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pyproxy.upload.core_metadata import CoreMetadata, core_metadata
from pyproxy.upload.refusal import UploadRefused

HEAD = "Metadata-Version: 2.1\nName: Foo.Bar\nVersion: 1.0.0\n"


def read(text: str | bytes) -> CoreMetadata:
    return core_metadata(text if isinstance(text, bytes) else text.encode(), "METADATA")


def test_metadata__sound__is_read() -> None:
    found = read(HEAD + "Requires-Python: >=3.9, !=3.10.*\nClassifier: A\nCLASSIFIER: B\n\nName: other\n")
    assert (found.project, found.name, found.version) == ("foo-bar", "Foo.Bar", "1.0.0")
    assert found.parsed_version == Version("1")
    assert found.requires_python == ">=3.9, !=3.10.*"
    assert found.fields["classifier"] == ("A", "B")


@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        HEAD.rstrip("\n"),
        HEAD.replace("\n", "\r\n") + "\r\nbody \x0c\x1b\x00 of any kind\r",
        "Name: Foo.Bar\nMetadata-Version: 1.0\nversion:1.0.0\n",
        HEAD + "Description: one\n        two\n\tthree\n  \n        |four\nKeywords:\n",
        HEAD + "Requires-Python:\n",
        HEAD + "X-Unknown: 1\nX-Unknown: 2\n",
        HEAD + "Summary: ünï — 日本\n",
    ],
)
def test_metadata__in_any_proper_form__is_read(text: str) -> None:
    assert read(text).name == "Foo.Bar"


def test_metadata__continued_lines__belong_to_their_header() -> None:
    assert read(HEAD + "License: one\n  two\n\tthree\n").fields["license"] == ("one\n  two\n\tthree",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no Metadata-Version"),
        ("\n" + HEAD, "has no Metadata-Version"),
        ("\ufeff" + HEAD, "line 1 is no header"),
        (" " + HEAD, "line 1 is no header"),
        ("<html>\n", "line 1 is no header"),
        (HEAD + "Name: Foo.Bar\n", "has name twice"),
        (HEAD + "NAME: other\n", "has name twice"),
        (HEAD + "Version: 1.0.0\n", "has version twice"),
        (HEAD + "Metadata-Version: 2.1\n", "has metadata-version twice"),
        (HEAD + "Requires-Python: >=3\nrequires-python: >=3\n", "has requires-python twice"),
        (HEAD + "License: BSD\n\nName: other\n".replace("\n\n", "\nand more\n"), "line 5 is no header"),
        (HEAD + "From nobody\n", "line 4 is no header"),
        (HEAD + ": nothing\n", "line 4 is no header"),
        (HEAD + "A b: c\n", "line 4 is no header"),
        (HEAD.replace("Name: Foo.Bar\n", ""), "has no Name"),
        (HEAD.replace("Foo.Bar", ""), "has no Name"),
        (HEAD.replace("Foo.Bar", "Foo\n Bar"), "not a project name"),
        (HEAD.replace("Foo.Bar", "Foo Bar"), "not a project name"),
        (HEAD.replace("Foo.Bar", "-foo"), "not a project name"),
        (HEAD.replace("Foo.Bar", "Foo\x1b[31m"), "a control character in line 2"),
        (HEAD.replace("Foo.Bar", "Foo\rVersion: 2"), "a control character in line 2"),
        (HEAD.replace("Foo.Bar", "Foo\0"), "a control character in line 2"),
        (HEAD.replace("\n", "\r\r\n"), "a control character in line 1"),
        (HEAD + "Summary: a\x0bb\n", "a control character in line 4"),
        (HEAD.replace("1.0.0", "one"), "not a version: 'one'"),
        (HEAD.replace("1.0.0", "1" * 5000), "not a version"),
        (HEAD.replace("2.1", "3.0"), "unknown Metadata-Version"),
        (HEAD.replace("2.1", "2.10"), "unknown Metadata-Version"),
        (HEAD + "Requires-Python: three\n", "Requires-Python is no version specifier: 'three'"),
        (HEAD + "Requires-Python: >=3.6.*\n", "is no version specifier"),
        (HEAD + "Requires-Python: >=3\n  ,<4\n", "is no version specifier"),
        (HEAD + "Requires-Python: " + ">=3," * 1000 + "<4\n", "is no version specifier"),
        (HEAD + " \n" * 200_001, "more than 200000 lines"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_metadata__anything_doubtful__is_refused(text: str, why: str) -> None:
    with pytest.raises(UploadRefused) as refused:
        read(text)
    assert refused.value.status == 400
    assert refused.value.reason.startswith("METADATA")
    assert why in refused.value.reason
    assert refused.value.reason.isprintable()


def test_metadata__not_utf_8__is_refused() -> None:
    with pytest.raises(UploadRefused, match="METADATA is not UTF-8"):
        read(HEAD.encode() + b"\nA description: \xff\n")


@given(
    st.binary()
    | st.lists(
        st.sampled_from(
            [*HEAD.splitlines(keepends=True), "\n", "\r\n", "\r", " a\n", "Name: b\n", "Name : c\n", "x\n", "From a\n"]
        )
    ).map(lambda lines: "".join(lines).encode())
)
def test_metadata__whatever_is_read__is_what_email_reads(raw: bytes) -> None:
    try:
        found = read(raw)
    except UploadRefused:
        return
    message = BytesParser().parsebytes(raw)
    assert message.get_all("Name") == [found.name]
    assert message.get_all("Version") == [found.version]
