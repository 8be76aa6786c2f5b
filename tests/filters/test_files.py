from __future__ import annotations

import pytest

from tests.filters.looking import a_file, left, policy, reasons

KINDS = {
    "bdist_wheel": "alpha-1.0-py3-none-any.whl",
    "sdist": "alpha-1.0.tar.gz",
    "bdist_egg": "alpha-1.0-py2.7.egg",
    "bdist_wininst": "alpha-1.0.win32-py2.7.exe",
    "bdist_msi": "alpha-1.0.win-amd64-py2.7.msi",
    "bdist_rpm": "alpha-1.0-1.noarch.rpm",
    "bdist_dmg": "alpha-1.0.dmg",
    "bdist_dumb": "alpha-1.0.linux-x86_64.tar.gz",
}


@pytest.mark.parametrize("kind", KINDS)
def test_package_types__leave_that_kind_alone(kind: str) -> None:
    assert left(policy(package_types=(kind,)), KINDS.values()) == [KINDS[kind]]


@pytest.mark.parametrize("filename", ["for-freebsd-1.0.tar.gz", "for-freebsd-1.zip", "for_freebsd-1.0.zip"])
def test_package_types__sdist_of_a_project_that_is_called_like_a_platform__is_one(filename: str) -> None:
    assert left(policy(package_types=("sdist",)), [filename], "for-freebsd") == [filename]


def test_package_types__none__leave_all() -> None:
    assert left(policy(package_types=()), KINDS.values()) == list(KINDS.values())


@pytest.mark.parametrize(
    ("filename", "only"),
    [
        ("alpha-1.0-py3-none-any.whl", set()),
        ("alpha-1.0.tar.gz", set()),
        ("alpha-win32-1.0.tar.gz", set()),
        ("alpha-1.0-cp312-cp312-win32.whl", {"windows"}),
        ("alpha-1.0-cp312-cp312-win_amd64.whl", {"windows"}),
        ("alpha-1.0-cp312-cp312-win_arm64.whl", {"windows"}),
        ("alpha-1.0-cp312-cp312-macosx_10_9_x86_64.macosx_11_0_arm64.whl", {"macos"}),
        ("alpha-1.0-cp312-cp312-freebsd_13_2_release_amd64.whl", {"freebsd"}),
        ("alpha-1.0-cp312-cp312-linux_x86_64.whl", {"linux"}),
        ("alpha-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", {"linux"}),
        ("alpha-1.0-cp312-cp312-musllinux_1_2_aarch64.whl", {"linux"}),
        ("alpha-1.0-py3-none-win_amd64.macosx_11_0_arm64.whl", {"windows", "macos"}),
        ("alpha-1.0-cp312-cp312-pyodide_2024_0_wasm32.whl", {"pyodide"}),
        ("alpha-1.0-cp312-cp312-android_21_arm64_v8a.whl", {"android"}),
        ("alpha-1.0-py2.7-win32.egg", {"windows"}),
        ("alpha-1.0-py2.7-macosx-10.9-x86_64.egg", {"macos"}),
        ("alpha-1.0-py2.7-linux-x86_64.egg", {"linux"}),
        ("alpha-1.0-py2.7.egg", set()),
        ("alpha-1.0.win32-py2.7.exe", {"windows"}),
        ("alpha-1.0.win-amd64-py2.7.msi", {"windows"}),
        ("alpha-1.0-1.noarch.rpm", {"linux"}),
        ("alpha-1.0.dmg", {"macos"}),
        ("alpha-1.0.linux-x86_64.tar.gz", {"linux"}),
        ("alpha-1.0.macosx-10.9-x86_64.tar.gz", {"macos"}),
        ("alpha-1.0.win32.zip", {"windows"}),
    ],
)
def test_exclude_platforms__hide_what_is_for_these_alone(filename: str, only: set[str]) -> None:
    known = ("windows", "macos", "freebsd", "linux")

    for platform in known:
        is_left = left(policy(exclude_platforms=(platform,)), [filename]) == [filename]
        assert is_left == (only != {platform}), platform
    is_left = left(policy(exclude_platforms=known), [filename]) == [filename]
    assert is_left == (not only or not only <= set(known))


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ("for_linux-1.0-py2.7.egg", True),
        ("for_linux-1.0-py2.7-win32.egg", True),
        ("for_linux-1.0-py2.7-linux-x86_64.egg", False),
        ("for-linux-1.0.macosx-10.9-x86_64.tar.gz", True),
        ("For-Linux-1.0.linux-x86_64.tar.gz", False),
        ("for-linux-1.0.tar.gz", True),
        ("for-linux-1.tar.gz", True),
        ("for_linux-1.0-py3-none-any.whl", True),
    ],
)
def test_exclude_platforms__project_that_is_called_like_one__is_not_for_it_alone(filename: str, *, shown: bool) -> None:
    found = left(policy(exclude_platforms=("linux",)), [filename], "for-linux")

    assert found == ([filename] if shown else [])


def test_require_provenance__hides_files_without() -> None:
    files = [a_file("alpha-1.0.tar.gz"), a_file("alpha-1.1.tar.gz", provenance="https://index.example/p")]

    assert left(policy(require_provenance=True), files) == ["alpha-1.1.tar.gz"]


def test_max_file_size__hides_larger_files_and_those_whose_size_nobody_tells() -> None:
    files = [a_file(f"alpha-1.{size or 'x'}.tar.gz", size=size) for size in (10, 11, None)]

    assert left(policy(max_file_size=10), files) == ["alpha-1.10.tar.gz"]
    assert reasons(policy(max_file_size=10), files) == {
        "alpha-1.11.tar.gz": "max_file_size 10 B: it has 11 B",
        "alpha-1.x.tar.gz": "max_file_size 10 B: nobody tells how large it is",
    }
