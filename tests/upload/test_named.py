"""File names of uploads: read in one way, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pyproxy.upload.named import identity, named
from pyproxy.upload.refusal import UploadRefused
from tests.upload.building import in_one_line, why_refused


@pytest.mark.parametrize(
    ("filename", "project", "version", "stem"),
    [
        ("foo-1.0-py3-none-any.whl", "foo", "1.0", "foo-1.0"),
        ("foo-1.0-py2.py3-none-any.whl", "foo", "1.0", "foo-1.0"),
        ("Foo.Bar_baz-1.0-py2.py3-none-any.whl", "foo-bar-baz", "1.0", "Foo.Bar_baz-1.0"),
        ("foo-1.0-1-py3-none-any.whl", "foo", "1.0", "foo-1.0"),
        ("foo-1.0-2local-py3-none-any.whl", "foo", "1.0", "foo-1.0"),
        ("foo-1!2.0+cu118.post2-py3-none-any.whl", "foo", "1!2.0+cu118.post2", "foo-1!2.0+cu118.post2"),
        ("foo-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "foo", "1.0", "foo-1.0"),
    ],
)
def test_named__wheel__says_project_and_version(filename: str, project: str, version: str, stem: str) -> None:
    said = named(filename)
    assert (said.kind, said.project, said.version, said.stem) == ("bdist_wheel", project, Version(version), stem)


@pytest.mark.parametrize(
    ("filename", "project", "version"),
    [
        ("foo-1.0.tar.gz", "foo", "1.0"),
        ("foo-1.0.zip", "foo", "1.0"),
        ("foo_bar-1.0.tar.gz", "foo-bar", "1.0"),
        ("Foo.Bar-baz-1.0.tar.gz", "foo-bar-baz", "1.0"),
        ("foo-2-1.0.tar.gz", "foo-2", "1.0"),
        ("foo-1.0rc1.tar.gz", "foo", "1.0rc1"),
        ("foo-1.0-rc1.tar.gz", "foo", "1.0rc1"),
        ("foo-1.0+cpu.tar.gz", "foo", "1.0+cpu"),
    ],
)
def test_named__sdist__says_project_and_version(filename: str, project: str, version: str) -> None:
    said = named(filename)
    assert (said.kind, said.project, said.version) == ("sdist", project, Version(version))


@pytest.mark.parametrize(
    "filename",
    [
        "",
        "foo.whl",
        "foo-1.0.whl",
        "foo-1.0-py3-none.whl",
        "foo-1.0-x1-py3-none-any.whl",
        "foo-1.0-py3-none-any-more-and-more.whl",
        "foo-not.a.version-py3-none-any.whl",
        "foo__bar-1.0-py3-none-any.whl",
        "-1.0-py3-none-any.whl",
        "_foo-1.0-py3-none-any.whl",
        "foo_-1.0-py3-none-any.whl",
        "foo-1.0-py3-no!ne-any.whl",
        "foo-1.0-py3-none-.whl",
        "foo-1.0-py3..py2-none-any.whl",
        "foo-1.0-py3-none-any.WHL",
        "foo-1.0-py3-none-any.whl.metadata",
        "foo-1.0-py3-none-any.whl\n",
        "foo-1.0-py3\x00-none-any.whl",
        "foo-1.0-py3-none-ány.whl",
        "dir/foo-1.0-py3-none-any.whl",
        "dir\\foo-1.0-py3-none-any.whl",
        "../foo-1.0-py3-none-any.whl",
        ".foo-1.0-py3-none-any.whl",
        "foo bar-1.0-py3-none-any.whl",
        "foo-1.0.tar.bz2",
        "foo-1.0.tgz",
        "foo-1.0.egg",
        "foo-1.0.exe",
        "foo-1.0.TAR.GZ",
        "foo.tar.gz",
        "foo-.tar.gz",
        "-1.0.tar.gz",
        "foo-2004d-final.tar.gz",
        "f" * 300 + "-1.0.tar.gz",
        "foo-" + "9" * 240 + "-" * 8 + ".tar.gz",
    ],
)
def test_named__anything_else__is_refused(filename: str) -> None:
    with pytest.raises(UploadRefused) as refused:
        named(filename)
    assert refused.value.status == 400
    assert refused.value.reason.isprintable()


@pytest.mark.parametrize("filename", ["foo-2-2.tar.gz", "foo-1.0-1.tar.gz", "foo-2-3-4.zip"])
def test_named__sdist_of_two_readings__is_refused_with_a_better_name(filename: str) -> None:
    with pytest.raises(UploadRefused, match=r"can be read in 2 ways: give it the form of PEP 625, such as foo_"):
        named(filename)


@given(st.text() | st.builds("{}-{}".format, st.text(), st.sampled_from(["1.0.tar.gz", "1.0-py3-none-any.whl"])))
def test_named__any_text__is_read_or_refused(text: str) -> None:
    refused = why_refused(lambda: named(text))
    assert in_one_line(refused)
    assert refused or named(text).filename == text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("foo-1.0-py2.py3-none-any.whl", "Foo-1.0.0-py3.py2-none-any.whl", True),
        ("foo_bar-1.0.tar.gz", "Foo-Bar-1.0.tar.gz", True),
        ("foo-1.0.tar.gz", "foo-1.0.zip", False),
        ("foo-1.0-1-py3-none-any.whl", "foo-1.0-py3-none-any.whl", False),
        ("foo-1.0.tar.gz", "foo-1.0-py3-none-any.whl", False),
    ],
)
def test_identity__two_spellings__are_compared_by_what_they_say(one: str, other: str, *, same: bool) -> None:
    assert (identity(one) == identity(other)) is same


def test_identity__no_file_name__is_none() -> None:
    assert identity("foo") is None
