"""Which serialisation a client gets."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyproxy.simple_api import Kind, negotiate

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (JSON, Kind.JSON),
        (HTML, Kind.HTML),
        ("text/html", Kind.TEXT),
        ("application/vnd.pypi.simple.latest+json", Kind.JSON),
        ("application/vnd.pypi.simple.latest+html", Kind.HTML),
        (f"{JSON};q=0.1, {HTML};q=0.9", Kind.HTML),
        (f"{HTML};q=0.2, {JSON};q=0.3, text/html;q=0.1", Kind.JSON),
        (f"text/html;q=0.9, {JSON};q=0.901", Kind.JSON),
        (f"{JSON}, {HTML};q=0.1, text/html;q=0.01", Kind.JSON),  # pip
        (f"{JSON}, {HTML};q=0.2, text/html;q=0.01", Kind.JSON),  # uv
        (f"{JSON}, */*;q=0.1", Kind.JSON),  # Poetry
        (f"text/html; q=0.01,{JSON}", Kind.JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Kind.TEXT),  # browsers
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", Kind.TEXT),  # old Java
        ("*/*", Kind.TEXT),
        ("*", Kind.TEXT),
        ("application/*", Kind.JSON),
        ("text/*", Kind.TEXT),
        ("text/html, */*", Kind.TEXT),
        (f"*/*;q=0.5, {JSON};q=0.5", Kind.JSON),
        (f"{JSON};q=0, */*", Kind.TEXT),
        (f"text/html;q=0, {JSON};q=0, */*", Kind.HTML),
        ("application/*;q=0.2, text/*;q=0.1", Kind.JSON),
        ("image/png, text/html;q=0.5", Kind.TEXT),
        ("APPLICATION/VND.PYPI.SIMPLE.V1+JSON", Kind.JSON),
        (f"{JSON} ; q=1.0", Kind.JSON),
        (f"{JSON};Q=0.1, {HTML};q=0.05", Kind.JSON),
        (f"{JSON};version=1;q=0.5", Kind.JSON),
        (f"application/vnd.pypi.simple.v2+json, {JSON};q=0.5", Kind.JSON),
        (f"{JSON};q=nonsense, text/html;q=0.1", Kind.TEXT),
        (f"{JSON};q=2, text/html;q=0.1", Kind.TEXT),
        (f"{JSON};q=-1, text/html;q=0.1", Kind.TEXT),
        (f",, ;;, {HTML}", Kind.HTML),
        ("text/html;q=0.0001", Kind.TEXT),
    ],
)
def test_accept__best_match__is_chosen(accept: str, kind: Kind) -> None:
    assert negotiate(accept, None) is kind


@pytest.mark.parametrize("accept", [None, "", "  ", "nonsense", ", ;"])
def test_accept__says_nothing__is_html_for_people(accept: str | None) -> None:
    assert negotiate(accept, None) is Kind.TEXT


@pytest.mark.parametrize(
    "accept",
    [
        "image/png",
        "application/vnd.pypi.simple.v2+json",
        "application/json",
        "application/json;q=0, image/*",
        f"{JSON};q=0",
        f"{JSON};q=0.000",
        "*/*;q=0",
        "text/plain, */*;q=0",
    ],
)
def test_accept__nothing_fits__is_none(accept: str) -> None:
    assert negotiate(accept, None) is None


@pytest.mark.parametrize(
    ("parameter", "kind"),
    [
        (JSON, Kind.JSON),
        (JSON.replace("+", " "), Kind.JSON),
        (JSON.upper(), Kind.JSON),
        (HTML, Kind.HTML),
        ("text/html", Kind.TEXT),
        ("application/vnd.pypi.simple.latest+json", Kind.JSON),
        ("json", None),
        ("", None),
        ("*/*", None),
        ("application/vnd.pypi.simple.v2+json", None),
        (f"{JSON};q=1", None),
    ],
)
@pytest.mark.parametrize("accept", [None, "text/html", "image/png", JSON])
def test_format__given__beats_accept(accept: str | None, parameter: str, kind: Kind | None) -> None:
    assert negotiate(accept, parameter) is kind


def test_kind__content_type__names_the_charset_of_text_alone() -> None:
    assert Kind.TEXT.content_type == "text/html; charset=utf-8"
    assert Kind.JSON.content_type == JSON
    assert Kind.HTML.content_type == HTML


@given(st.text(), st.none() | st.text())
@example("a/b;q=" + "9" * 400, None)
def test_negotiate__whatever_is_sent__answers(accept: str, parameter: str | None) -> None:
    assert negotiate(accept, parameter) in {*Kind, None}


def test_negotiate__what_is_wanted_last_of_a_thousand__is_not_looked_for() -> None:
    assert negotiate("image/png," * 1000 + JSON, None) is None


def test_negotiate__header_of_a_megabyte__takes_no_time() -> None:
    begun = time.process_time()
    for hostile in ("a/b," * 250_000, "a/b;q=" * 170_000, "*/*;" + "x" * 1_000_000, "a/b" + ";" * 1_000_000):
        negotiate(hostile, hostile)
    assert time.process_time() - begun < 0.5
