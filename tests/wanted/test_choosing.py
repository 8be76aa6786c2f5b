from __future__ import annotations

import pytest

from pyproxy.model import File as PageFile
from pyproxy.model import Filename, ProjectName, ProjectPage
from pyproxy.wanted import Ask, Named, as_ask, chosen, dependencies, named_on

A = ProjectName("a")


def file(name: str, digest: str = "0", *, yanked: bool | str = False) -> PageFile:
    return PageFile(
        Filename(name), f"https://index.example/{name}", f"up/{name}", hashes={"sha256": digest}, yanked=yanked
    )


def ask(text: str, *hashes: str) -> Ask:
    found = as_ask(text, "")
    assert isinstance(found, Ask)
    return Ask(found.project, found.versions, found.extras, frozenset(hashes))


def names(text: str, *files: PageFile, hashes: tuple[str, ...] = ()) -> list[str] | None:
    release = chosen(ProjectPage(A, files), ask(text, *hashes))
    return None if release is None else [one.filename for one in release.files]


OLD, NEW, WHEEL = file("a-1.9.tar.gz"), file("a-1.10.tar.gz"), file("a-1.10.0-py3-none-any.whl")
PRE = file("a-2.0rc1.tar.gz")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ["a-1.10.tar.gz", "a-1.10.0-py3-none-any.whl"]),
        ("a<1.10", ["a-1.9.tar.gz"]),
        ("a==1.9", ["a-1.9.tar.gz"]),
        ("a>=2.0rc1", ["a-2.0rc1.tar.gz"]),
        ("a>1.10", ["a-2.0rc1.tar.gz"]),  # nothing else fits
        ("a>3", None),
    ],
)
def test_chosen__newest_that_fits__with_all_its_files(text: str, expected: list[str] | None) -> None:
    assert names(text, OLD, NEW, WHEEL, PRE, file("a-nonsense.exe")) == expected


def test_chosen__yanked__only_where_it_is_pinned() -> None:
    page = (OLD, file("a-1.10.tar.gz", yanked="broken"))
    assert names("a", *page) == ["a-1.9.tar.gz"]
    assert names("a>=1.10", *page) is None
    assert names("a==1.10.*", *page) is None
    assert names("a==1.10", *page) == names("a===1.10", *page) == ["a-1.10.tar.gz"]


def test_chosen__one_file_yanked__the_others_of_its_release() -> None:
    assert names("a", NEW, file("a-1.10-py3-none-any.whl", yanked=True)) == ["a-1.10.tar.gz"]


def test_chosen__hashes__are_those_files_alone() -> None:
    page = (file("a-1-py3-none-any.whl", "aa"), file("a-1.tar.gz", "BB"), file("a-2.tar.gz", "cc"))
    assert names("a==1", *page, hashes=("sha256:bb", "sha256:dd")) == ["a-1.tar.gz"]
    assert names("a", *page, hashes=("sha256:aa",)) == ["a-1-py3-none-any.whl"]
    assert names("a==2", *page, hashes=("sha256:aa",)) is None


def test_named__by_name_and_digest() -> None:
    page = ProjectPage(A, (file("a-1.tar.gz", "AA"),))

    def found(name: str, **hashes: str) -> str:
        one = named_on(page, Named(A, Filename(name), hashes))
        return one if isinstance(one, str) else one.filename

    assert found("a-1.tar.gz", sha256="aa") == found("a-1.tar.gz") == found("a-1.tar.gz", md5="0") == "a-1.tar.gz"
    assert found("a-1.tar.gz", sha256="ab") == "here it has another digest than the lock file gives"
    assert found("a-2.tar.gz") == "the project's page does not have it"


def test_dependencies__of_any_machine_and_the_extras_asked_for() -> None:
    requires = [
        "b>=1",
        "win; sys_platform == 'win32'",
        "ancient; python_version < '3'",
        "c[d]; extra == 'x-y'",
        "e; extra == 'other'",
        "f @ https://index.example/f.zip",
        "no requirement",
    ]
    release = chosen(ProjectPage(A, (OLD,)), ask("a"))
    assert release is not None

    def wanted(text: str) -> list[str]:
        return [str(one) for one in dependencies(requires, ask(text), release.version)]

    assert wanted("a") == ["b>=1", "win"]
    assert wanted("a[X_Y]") == ["b>=1", "win", "c[d]"]
