"""The names in a list of projects."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.errors import PageUnreadable
from pyproxy.simple_api.project_list import project_names
from tests.simple_api.pages import HTML, JSON


def in_json(projects: object, **top: object) -> list[str]:
    body = json.dumps({"meta": {"api-version": "1.0"}, "projects": projects, **top}).encode()
    return list(project_names(body, JSON))


def in_html(body: str, title: str = "Simple index") -> list[str]:
    page = f"<!DOCTYPE html><html><title>{title}</title>{body}</html>"
    return list(project_names(page.encode(), "text/html"))


def test_json__names__are_read_as_spelled() -> None:
    assert in_json([{"name": "Foo.Bar_baz"}, {"name": "alpha", "_last-serial": 3}]) == ["Foo.Bar_baz", "alpha"]


@pytest.mark.parametrize("wrong", [{}, {"name": 7}, {"name": None}, [], "alpha", None, {"name": ["x"]}])
def test_json__entry_without_a_name__is_lost_alone(wrong: object) -> None:
    assert in_json([wrong, {"name": "alpha"}]) == ["alpha"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"projects": null}', b'{"projects": {}}', b'{"projects": [', b"[" * 99999]
)
def test_json__no_list__is_refused(body: bytes) -> None:
    with pytest.raises(PageUnreadable, match="no JSON object with a list of projects"):
        list(project_names(body, JSON))


def test_version__of_another_major__is_refused() -> None:
    with pytest.raises(PageUnreadable, match="only 1"):
        in_json([{"name": "alpha"}], meta={"api-version": "2.0"})
    with pytest.raises(PageUnreadable, match="only 1"):
        in_html('<meta name="pypi:repository-version" content="2.0"><a href="alpha/">alpha</a>')


@pytest.mark.parametrize(
    ("anchors", "names"),
    [
        ('<a href="alpha/">alpha</a>', ["alpha"]),
        ('<a href="foo-bar/">Foo.Bar</a><br/><a href=/simple/b/>b</a>', ["Foo.Bar", "b"]),
        ('<a href="alpha/" class="x"> Alpha \n</a>', ["Alpha"]),
        ('<a href="alpha"><b>Alpha</b></a>', ["alpha"]),
        ('<a href="/">home</a><a name="x">x</a><a href="#top">top</a>', []),
        ("", []),
    ],
)
def test_html__texts_of_the_links__are_the_names(anchors: str, names: list[str]) -> None:
    assert in_html(anchors) == names


def test_html__as_the_specification_shows_it__is_a_list() -> None:
    body = b"""<!DOCTYPE html>
<html>
  <body>
    <a href="/frob/">frob</a>
    <a href="/spamspamspam/">SpamSpamSpam</a>
  </body>
</html>"""

    assert list(project_names(body, HTML)) == ["frob", "SpamSpamSpam"]


@pytest.mark.parametrize("body", [b"", b"<html><title>Please log in</title><a href='/login'>login</a></html>", b"OK"])
def test_html__no_list__is_refused(body: bytes) -> None:
    with pytest.raises(PageUnreadable, match="no list of projects"):
        list(project_names(body, HTML))


@pytest.mark.parametrize(
    "body", [b"<html><title>Simple index</title><a href='a/'>a</a>", b"<title>Simple index</title><a hre"]
)
def test_html__cut__is_refused(body: bytes) -> None:
    with pytest.raises(PageUnreadable, match="cut short"):
        list(project_names(body, "text/html"))


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain"])
def test_type__any_other__is_refused(content_type: str) -> None:
    with pytest.raises(PageUnreadable):
        list(project_names(b'{"projects":[]}', content_type))


@given(st.binary(), st.sampled_from([JSON, HTML, "text/html"]))
def test_body__any_bytes__are_read_or_refused(body: bytes, content_type: str) -> None:
    try:
        assert all(isinstance(name, str) for name in project_names(body, content_type))
    except PageUnreadable as exc:
        assert str(exc).isprintable()  # noqa: PT017 - either outcome is right
