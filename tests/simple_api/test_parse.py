"""Which reader a page gets."""

from __future__ import annotations

import msgspec
import pytest

from pyproxy.errors import PageUnreadable
from pyproxy.simple_api import linker, parse_page
from tests.simple_api.pages import HTML, JSON, LINK, NAME, PROJECT, entry, names, parse

HTML_BODY = f'<html><title>Links for proj</title><a href="{NAME}">x</a></html>'.encode()
JSON_BODY = msgspec.json.encode({"files": [entry()]})


@pytest.mark.parametrize(
    "content_type",
    [JSON, f"{JSON}; charset=utf-8", f"{JSON};q=1;x", JSON.upper(), f" {JSON} ;charset=UTF-8"],
)
def test_type__json_with_whatever_parameters__is_json(content_type: str) -> None:
    assert names(parse(JSON_BODY, content_type)) == [NAME]


@pytest.mark.parametrize(
    "content_type",
    [HTML, "text/html", "Text/HTML", "text/html; charset=utf-8", "text/html;charset=nonsense", f"{HTML};x=y"],
)
def test_type__html_by_both_names__is_html(content_type: str) -> None:
    assert names(parse(HTML_BODY, content_type)) == [NAME]


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        ";",
        "application/json",
        "text/plain",
        "application/xhtml+xml",
        "application/octet-stream",
        "application/vnd.pypi.simple.v2+json",
        "application/vnd.pypi.simple.v10+json",
        "application/vnd.pypi.simple.latest+json",
        f"{JSON}x",
        "text/htmlx",
        "text/html,text/html",
    ],
)
@pytest.mark.parametrize("body", [JSON_BODY, HTML_BODY])
def test_type__any_other__is_refused_by_its_name(body: bytes, content_type: str) -> None:
    with pytest.raises(PageUnreadable) as caught:
        parse(body, content_type)
    assert (content_type.partition(";")[0] or "no content type") in str(caught.value)


def test_type__hostile__is_told_in_one_harmless_line() -> None:
    with pytest.raises(PageUnreadable) as caught:
        parse(JSON_BODY, "text/\x1b[31m\r\n" + "x" * 10_000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_body__of_the_other_type__is_refused() -> None:
    with pytest.raises(PageUnreadable):
        parse(HTML_BODY, JSON)
    with pytest.raises(PageUnreadable):
        parse(JSON_BODY, "text/html")


def test_links__are_relative_to_where_the_page_came_from() -> None:
    url = "http://mirror.example:8080/base/simple/proj/?x=1"
    found = parse(JSON_BODY, JSON, url=url).page.files[0]
    assert found.url == f"http://mirror.example:8080/base/f/{NAME}"
    assert found.link == f"up~mirror.example:8080/base/f/{NAME}"


def test_page__from_no_web_address__is_refused() -> None:
    with pytest.raises(PageUnreadable):
        parse(JSON_BODY, JSON, url="file:///simple/proj/")


@pytest.mark.parametrize(("body", "content_type"), [(JSON_BODY, JSON), (HTML_BODY, HTML)])
def test_hosts__that_may_not_be_linked__lose_their_files(body: bytes, content_type: str) -> None:
    url = "https://mirror.example/simple/proj/"
    own_only = linker("up", "https://index.example/simple/", ())
    parsed = parse_page(body, content_type, url, PROJECT, linker=own_only)
    assert parsed.page.files == ()
    assert "may not be linked" in parsed.dropped[0]
    assert names(parse_page(body, content_type, url, PROJECT, linker=LINK)) == [NAME]


def test_provenance__on_a_host_that_may_not_be_linked__is_left_out() -> None:
    own_only = linker("up", "https://index.example/simple/", ())
    body = msgspec.json.encode({"files": [entry(provenance="https://evil.example/provenance")]})
    parsed = parse_page(body, JSON, "https://index.example/simple/proj/", PROJECT, linker=own_only)
    assert parsed.page.files[0].provenance is None
