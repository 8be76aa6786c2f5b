"""Which versions a page names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.model import as_filename, as_project, version_of
from pyproxy.simple_api.versions import shown_versions, split_names
from tests.simple_api.pages import file, page


def shown(versions: tuple[str, ...] | None, *names: str, project: str = "proj") -> list[str]:
    found = page(*(file(name) for name in names), name=as_project(project), versions=versions)
    return shown_versions(found, found.files)


@pytest.mark.parametrize(
    ("versions", "names", "expected"),
    [
        (None, (), []),
        (("1.0",), (), []),
        (None, ("proj-1.0.tar.gz", "proj-1.0-py3-none-any.whl"), ["1.0"]),
        (None, ("proj-2.0.tar.gz", "proj-1.0.tar.gz"), ["2.0", "1.0"]),
        (("1.0", "2.0", "3.0"), ("proj-3.0.tar.gz", "proj-1.0.tar.gz"), ["1.0", "3.0"]),
        (("1.0.0",), ("proj-1.0.tar.gz",), ["1.0.0"]),
        (("1.0",), ("proj-1.0.tar.gz", "proj-1.0.0-py3-none-any.whl"), ["1.0"]),
        (None, ("proj-1.0.tar.gz", "proj-1.0.0-py3-none-any.whl"), ["1.0"]),
        (("1.0a1",), ("proj-1.0.alpha.1.tar.gz",), ["1.0a1"]),
        (("1.0-1",), ("proj-1.0_1-py3-none-any.whl",), ["1.0-1"]),
        (("1.0+cu118.post2",), ("proj-1.0+cu118.post2-py3-none-any.whl",), ["1.0+cu118.post2"]),
        (("1!1.0",), ("proj-1!1.0-py3-none-any.whl",), ["1!1.0"]),
        (("1.0",), ("proj-2.0.tar.gz", "proj-1.0.tar.gz"), ["1.0", "2.0"]),
        (("2004d-final",), ("proj-2004d-final.tar.gz",), ["2004d-final"]),
        (None, ("proj-2004d-final.zip", "proj-0.1-py2.7.egg"), ["2004d-final", "0.1"]),
        (("1.0", "1.0.0"), ("proj-1.0.tar.gz",), ["1.0"]),
        (None, ("proj-1.0-1.tar.gz", "proj-1.0-py3-none-any.whl"), ["1.0-1", "1.0"]),
        (None, ("proj-1.0-py3-none-any.whl", "proj-1.0-1.tar.gz", "proj-1.0-cp39-none-any.whl"), ["1.0", "1.0-1"]),
        (None, ("other-1.0.tar.gz",), []),
        (None, ("proj.tar.gz",), []),
    ],
)
def test_versions__of_the_files_shown__are_spelled_as_the_remote_does(
    versions: tuple[str, ...] | None, names: tuple[str, ...], expected: list[str]
) -> None:
    assert shown(versions, *names) == expected


def test_versions__of_a_project_with_dashes__begin_after_its_name() -> None:
    names = ("Foo.Bar_baz-1.0-py3-none-any.whl", "Foo.Bar-baz-0.8.tar.gz", "foo_bar_baz-1.1.tar.gz", "foo-1.0.tar.gz")
    assert shown(None, *names, project="foo-bar-baz") == ["1.0", "0.8", "1.1"]


NAMES = st.builds(
    "{}-{}{}".format,
    st.sampled_from(["proj", "Proj", "PROJ", "other", "proj-x", "Proj_x", "proj__x", "proj.-x"]),
    st.sampled_from(["1.0", "1.0.0", "2004d-final", "1-1", "1_1", "1.0a1", "x", "", "-", "1.0-"]),
    st.sampled_from([".tar.gz", "-py3-none-any.whl", ".zip", "-1-py3-none-any.whl", ".tar.bz2", "-py2.7.egg", ".whl"]),
)


@given(st.sampled_from(["proj", "proj-x"]), st.lists(NAMES))
def test_names__split__agree_with_the_model_whatever_stands_before(project: str, names: list[str]) -> None:
    versions, tags = split_names([file(name) for name in names], as_project(project))

    assert versions == [version_of(as_filename(name), as_project(project)) for name in names]
    for name, version, rest in zip(names, versions, tags, strict=True):
        if rest is not None:
            assert name.endswith(".whl")
            assert name.removesuffix(f"-{version or ''}-{rest}").lower() in {"proj", "proj_x", "proj__x"}


@given(st.lists(NAMES))
def test_versions__of_many_files__are_those_of_each(names: list[str]) -> None:
    each = [version_of(as_filename(name), as_project("proj")) for name in names]
    assert set(shown(tuple(filter(None, each)), *names)) == set(filter(None, each))


@given(st.lists(st.sampled_from(["1.0", "1.0.0", "2.0", "x"]), unique=True), st.lists(NAMES))
def test_versions__are_never_named_twice(told: list[str], names: list[str]) -> None:
    found = shown(tuple(told), *names)
    assert len(found) == len(set(found))
    assert bool(found) == any(version_of(as_filename(name), as_project("proj")) for name in names)
