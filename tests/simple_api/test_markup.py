"""Start tags out of markup, whatever it is."""

from __future__ import annotations

import codecs
import contextlib
import html
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.errors import PageUnreadable
from pyproxy.simple_api.markup import decoded, tags
from tests.simple_api.pages import Reader


def anchors(page: str) -> list[dict[str, str]]:
    return [tag.attributes for tag in tags(page, frozenset({"a"}), frozenset())]


def texts(page: str) -> list[tuple[str, str]]:
    wanted = frozenset({"a", "title", "h1"})
    return [(tag.name, tag.text) for tag in tags(page, wanted, wanted)]


@pytest.mark.parametrize(
    ("page", "attributes"),
    [
        ('<a href="x">', {"href": "x"}),
        ("<a href='x'>", {"href": "x"}),
        ("<a href=x>", {"href": "x"}),
        ("<A HREF=x>", {"href": "x"}),
        ("<a\n\thref\n=\n'x'\n>", {"href": "x"}),
        ("<a/href=x/>", {"href": "x/"}),
        ('<a href="x"data-yanked>', {"href": "x", "data-yanked": ""}),
        ('<a href="x" data-yanked="">', {"href": "x", "data-yanked": ""}),
        ('<a href="x" href="y">', {"href": "x"}),
        ('<a href="x" data-a="1" data-a="2">', {"href": "x", "data-a": "1"}),
        ('<a href="x" data-a="1" data-b=\'"\' data-c=2>', {"href": "x", "data-a": "1", "data-b": '"', "data-c": "2"}),
        ('<a href="a>b" data-b="<a href=c>">', {"href": "a>b", "data-b": "<a href=c>"}),
        ('<a href="?a=1&amp;b=2">', {"href": "?a=1&b=2"}),
        ('<a href="?a=1&b=2">', {"href": "?a=1&b=2"}),
        ('<a href="?a=1&copy=2">', {"href": "?a=1&copy=2"}),
        ('<a href="?a=1&copyright=2">', {"href": "?a=1&copyright=2"}),
        ('<a href="&copy">', {"href": "©"}),
        ('<a href="&copy;">', {"href": "©"}),
        ('<a href="&nosuch;">', {"href": "&nosuch;"}),
        ('<a href="&gt;&#62;&#x3E;&#X3e;&#62">', {"href": ">>>>>"}),
        ('<a href="&#0;&#xD800;&#x110000;">', {"href": "\ufffd\ufffd\ufffd"}),
        ('<a href="&amp;amp;">', {"href": "&amp;"}),
        ("<a>", {}),
        ("<a =x>", {"x": ""}),
    ],
)
def test_attributes__of_any_form__are_read(page: str, attributes: dict[str, str]) -> None:
    assert anchors(page) == [attributes]


@pytest.mark.parametrize(
    "page",
    [
        "<!-- <a href=x> -->",
        "<!-- -- > <a href=x> -->",
        "<!DOCTYPE a <a href=x>",
        "<?xml <a href=x>",
        "</ <a href=x>",
        "<script><a href=x></script>",
        "<SCRIPT type='x'>'</scripty><a href=x>'</SCRIPT >",
        "<style><a href=x></style>",
        "<title><a href=x></title>",
        "<textarea><a href=x></textarea>",
        "<b title='<a href=x>'>",
        "<abbr href=x>",
        "&lt;a href=x&gt;",
        "< a href=x>",
        "",
    ],
)
def test_anchor__that_is_none__is_passed_over(page: str) -> None:
    assert anchors(page) == []


@pytest.mark.parametrize(
    "page", ["<!--><a href=x>", "<!---><a href=x>", "<!-- a --><a href=x>", "</><a href=x>", "<<a href=x>"]
)
def test_anchor__after_odd_markup__is_found(page: str) -> None:
    assert anchors(page) == [{"href": "x"}]


def test_text__of_what_is_asked_for__is_up_to_the_next_tag() -> None:
    page = "<title> A &amp; <b>B</b>\n</title><h1>Links <i>for</i></h1><a href='x'> x&gt;y </a><a href=\"y\">y</a><a>"
    assert texts(page) == [("title", "A & <b>B</b>"), ("h1", "Links"), ("a", "x>y"), ("a", "y"), ("a", "")]


def test_text__of_a_megabyte__is_cut() -> None:
    assert len(texts("<title>" + "x" * 1_000_000 + "</title>")[0][1]) == 1000


@pytest.mark.parametrize(
    "page",
    [
        "<a href=",
        '<a href="x',
        "<a href='x",
        "<a",
        "<a ",
        "<!--",
        "<!-- a --",
        "<script>",
        "<title>x</titl",
        "<!DOC",
        "<b x",
    ],
)
def test_page__that_ends_inside_markup__is_cut(page: str) -> None:
    with pytest.raises(PageUnreadable, match="cut short"):
        anchors("<a href=x>" + page)


ATTRIBUTES = st.dictionaries(st.sampled_from(["href", "data-yanked", "data-x"]), st.text(st.characters(codec="utf-8")))


@given(st.lists(ATTRIBUTES), st.sampled_from(['{}="{}"', "{}='{}'"]))
def test_anchors__escaped_by_others__are_read_back(written: list[dict[str, str]], form: str) -> None:
    page = "".join(
        "<a " + " ".join(form.format(name, html.escape(value)) for name, value in each.items()) + ">x</a>"
        for each in written
    )
    assert anchors(page) == written


SOUP = st.lists(
    st.sampled_from(
        [
            "<a href=x>",
            '<a href="y" data-a="1">',
            "</a>",
            "<b>",
            "<br/>",
            "&amp;",
            "&copy",
            "text",
            "\n",
            "<!-- <a href=z> -->",
            "<p class='<'>",
            "<!DOCTYPE html>",
            "<A HREF='z'>",
            "é",
        ]
    )
).map("".join)


@given(SOUP)
def test_anchors__are_those_that_another_parser_finds(page: str) -> None:
    assert anchors(page) == Reader(page).anchors


MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a ",
        '<a x="',
        "<a x='",
        "<a x=\"'",
        "<b><a>",
        "<div>",
        "<!--",
        "<!",
        "</",
        "</script",
        "<a href=x>",
        "&",
        "<a<",
        " ",
        "<title>",
    ],
)
@pytest.mark.parametrize("before", ["", "<script>", '<a href="', "<a "])
def test_tags__hostile_megabyte__takes_no_more_than_a_good_one(piece: str, before: str) -> None:
    page = before + piece * (MEGABYTE // len(piece))
    begun = time.perf_counter()
    with contextlib.suppress(PageUnreadable):  # refusing it must be quick, too
        assert isinstance(anchors(page), list)
    assert time.perf_counter() - begun < 5  # the quadratic parser took minutes


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("ü".encode(), None, "ü"),
        ("ü".encode(), "utf-8", "ü"),
        ("ü".encode(), "UTF-8", "ü"),
        ("ü".encode("latin-1"), "iso-8859-1", "ü"),
        ("ü".encode("latin-1"), None, "\ufffd"),
        ("ü".encode("latin-1"), "nonsense", "\ufffd"),
        (codecs.BOM_UTF8 + "ü".encode(), "latin-1", "ü"),
        (codecs.BOM_UTF16_LE + "ü".encode("utf-16-le"), None, "ü"),
        (codecs.BOM_UTF16_BE + "ü".encode("utf-16-be"), "utf-8", "ü"),
        (b'<meta charset="latin-1">\xfc', None, '<meta charset="latin-1">ü'),
        (
            b'<META http-equiv=x content="text/html; charset=latin-1">\xfc',
            None,
            '<META http-equiv=x content="text/html; charset=latin-1">ü',
        ),
        (b'<meta charset="utf-16">\xc3\xbc', None, '<meta charset="utf-16">ü'),
        (b'<meta charset="latin-1">\xc3\xbc', "utf-8", '<meta charset="latin-1">ü'),
        ("\u20ac".encode("cp1252"), "windows-1252", "\u20ac"),
        (b"\x83n", "shift_jis", "ハ"),
        (b"abc", "rot13", "abc"),
        (b"abc", "unicode_escape", "abc"),
        (b"abc", "zip", "abc"),
    ],
)
def test_decoded__charset__is_the_pages_own(body: bytes, charset: str | None, text: str) -> None:
    assert decoded(body, charset) == text


@given(st.binary(), st.none() | st.text())
def test_decoded__anything__is_text(body: bytes, charset: str | None) -> None:
    assert isinstance(decoded(body, charset), str)
