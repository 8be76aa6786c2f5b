"""Members' names: harmless, and one file each wherever they are extracted."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.upload.members import Names, safe_path
from pyproxy.upload.refusal import UploadRefused


@pytest.mark.parametrize(
    "name", ["a", "a/b/c.py", "a b/ü.txt", "a/", ".hidden", "a/.b", "a/..b", "a/b..", "...", "ab:c", "日本/語"]
)
def test_safe_path__harmless_name__is_itself(name: str) -> None:
    assert safe_path(name) == name.removesuffix("/")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/etc/passwd",
        "//a",
        "a//b",
        "a//",
        ".",
        "./",
        "..",
        "../",
        "./a",
        "../a",
        "a/.",
        "a/..",
        "a/./b",
        "a/../b",
        "a/../../b",
        "a/./",
        "a/../",
        "C:/a",
        "c:a",
        "a\\b",
        "..\\a",
        "\\a",
        "a\0b",
        "a\nb",
        "a\x1b[31m",
        "a\x7f",
        "a\x85b",
        "a" * 2000,
        "a/" * 100 + "a",
    ],
)
def test_safe_path__harmful_name__is_refused(name: str) -> None:
    with pytest.raises(UploadRefused, match="a member") as refused:
        safe_path(name)
    assert refused.value.reason.isprintable()


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b", "\\", "C:", "\0", "/"])).map("/".join))
def test_safe_path__what_passes__stays_below_its_folder(name: str) -> None:
    try:
        path = safe_path(name)
    except UploadRefused:
        return
    for kind in (PurePosixPath, PureWindowsPath):
        assert not kind(path).is_absolute()
        assert ".." not in kind(path).parts
    assert str(PurePosixPath(path)) == path


def refusal(*members: str, folders_may_repeat: bool = False) -> str | None:
    names = Names(folders_may_repeat=folders_may_repeat)
    try:
        for name in members:
            names.add(safe_path(name), folder=name.endswith("/"))
    except UploadRefused as exc:
        return exc.reason
    return None


@pytest.mark.parametrize(
    "members", [("a", "b"), ("a/", "a/b", "a/c/d"), ("a/b", "a/"), ("a/b", "A/c"), ("a/bc", "a/b/")]
)
def test_names__different_files__are_taken(members: tuple[str, ...]) -> None:
    assert refusal(*members) is None


@pytest.mark.parametrize(
    ("members", "why"),
    [
        (("a", "a"), "'a' twice"),
        (("a/", "a/"), "'a' twice"),
        (("a/b", "a/B"), "'a/b' and 'a/B' are the same file"),
        (("ä", "Ä"), "the same file"),
        (("é", "e\u0301"), "the same file"),
        (("straße", "STRASSE"), "the same file"),
        (("K", "\u212a"), "the same file"),
        (("a", "A/"), "the same file"),
        (("a", "a/b"), "'a' is a file and a folder"),
        (("a/b", "a"), "'a' is a file and a folder"),
        (("A", "a/b/c"), "is a file and a folder"),
    ],
)
def test_names__one_file_twice__is_refused(members: tuple[str, ...], why: str) -> None:
    reason = refusal(*members)
    assert reason is not None
    assert ascii(why)[1:-1].replace("\\'", "'") in reason.replace('"', "'")


def test_names__folder_again__is_taken_where_it_may_repeat() -> None:
    assert refusal("a/", "a/b", "a/", folders_may_repeat=True) is None
    assert refusal("a/", "A/", folders_may_repeat=True) is not None
    assert refusal("a", "a", folders_may_repeat=True) is not None
