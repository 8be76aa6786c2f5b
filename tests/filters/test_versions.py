from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from tests.filters.looking import a_file, left, policy, reasons


def sdists(*versions: str) -> list[str]:
    return [f"alpha-{version}.tar.gz" for version in versions]


def latest(count: int, *versions: str) -> list[str]:
    names = left(policy(keep_latest_packages=count), sdists(*versions))
    return [name.removeprefix("alpha-").removesuffix(".tar.gz") for name in names]


def test_prereleases__false__leaves_final_and_post_releases() -> None:
    versions = sdists("1.0a1", "1.0b2", "1.0rc1", "1.0.dev1", "1.0", "1.0.post1", "1.0.post1.dev1", "1.0+local", "odd")

    assert left(policy(prereleases=False), versions) == sdists("1.0", "1.0.post1", "1.0+local")
    assert left(policy(), versions) == versions


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, ["10.0"]), (2, ["9.0", "10.0"]), (4, ["1.0", "9.0", "10.0"]), (0, ["1.0", "9.0", "10.0"])],
)
def test_keep_latest__counts_versions_by_their_order(count: int, expected: list[str]) -> None:
    assert latest(count, "1.0", "9.0", "10.0") == expected


def test_keep_latest__counts_versions_and_not_files() -> None:
    files = ["alpha-1.0.tar.gz", "alpha-1.0-py3-none-any.whl", "alpha-1.0.0-cp312-none-any.whl", "alpha-0.9.tar.gz"]

    assert left(policy(keep_latest_packages=1), files) == files[:3]


def test_keep_latest__all_pre_releases__the_newest_final_one_takes_the_last_place() -> None:
    assert latest(1, "1.0", "1.1", "2.0rc1") == ["1.1"]
    assert latest(2, "1.0", "1.1", "2.0rc1", "2.0rc2") == ["1.1", "2.0rc2"]
    assert latest(2, "1.0a1", "1.0a2", "1.0a3") == ["1.0a2", "1.0a3"]


def test_keep_latest__versions_that_cannot_be_read__are_the_oldest() -> None:
    assert latest(1, "2004d", "0.1") == ["0.1"]
    assert latest(2, "2004d", "2004e", "0.1") == ["2004e", "0.1"]
    assert reasons(policy(keep_latest_packages=1), sdists("1.0", "1.1")) == {
        "alpha-1.0.tar.gz": "keep_latest_packages 1: a newer version is there"
    }


def test_keep_latest__is_counted_over_what_the_other_keys_left() -> None:
    rules = policy(keep_latest_packages=2, prereleases=False, excludes=["alpha==3"])

    assert left(rules, sdists("0.9", "1.0", "2.0", "3.0", "4.0rc1")) == sdists("1.0", "2.0")


def test_keep_latest__over_a_cool_down__moves_with_it() -> None:
    rules = policy(keep_latest_packages=1, min_age=7 * 86400.0)
    files = [
        a_file("alpha-1.0.tar.gz", upload_time="2026-01-01T00:00:00Z"),
        a_file("alpha-1.1.tar.gz", upload_time="2026-09-20T14:13:20Z"),
    ]
    now = 1_790_000_000.0

    assert left(rules, files, now=now) == ["alpha-1.0.tar.gz"]
    assert left(rules, files, now=now + 6 * 86400) == ["alpha-1.1.tar.gz"]


@given(
    st.lists(st.sampled_from(["0.1", "1.0a1", "1.0", "1.0.0", "1.1rc1", "1.1", "2!0.1", "3.dev1"]), unique=True),
    st.integers(min_value=1, max_value=6),
)
def test_keep_latest__leaves_so_many_versions_and_one_final(versions: list[str], count: int) -> None:
    kept = [Version(it) for it in latest(count, *versions)]
    there = {Version(it) for it in versions}

    assert len(set(kept)) == min(count, len(there))
    finals = {it for it in there if not it.is_prerelease}
    assert not finals or finals & set(kept)


@pytest.mark.parametrize(
    "filename",
    [
        "alpha-1.0.win32-py2.5-nosse.exe",
        "alpha-1.0.win-amd64-py2.7.msi",
        "alpha-1.0.macosx-10.9-x86_64.dmg",
        "alpha-1.0.linux-x86_64.tar.gz",
        "alpha-1.0-win32-superpack-python2.5.exe",
        "alpha-1.0-1.noarch.rpm",
        "alpha-1.0-py2.7-win32.egg",
        "alpha-1.0.zip",
        "Alpha-1.0-1-cp312-cp312-win32.whl",
    ],
)
def test_version__stands_before_the_platform(filename: str) -> None:
    assert left(policy(includes=["alpha==1.0"]), [filename]) == [filename]
