from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.upstream.heads import Heads
from pyproxy.upstream.trouble import Trouble
from pyproxy.upstream.urls import target

ALWAYS = {"Host": "index.example", "User-Agent": "pyproxy"}


def test_head__is_a_line_the_fields_of_all_and_those_of_the_question() -> None:
    head = Heads(ALWAYS).head("GET", "/simple/a/?x=1", {"Accept": "*/*"})

    assert head == b"GET /simple/a/?x=1 HTTP/1.1\r\nHost: index.example\r\nUser-Agent: pyproxy\r\nAccept: */*\r\n\r\n"


def test_head__for_a_proxy__names_the_whole_url() -> None:
    head = Heads({}, before_path="http://index.example:8080").head("HEAD", "/a", {})

    assert head == b"HEAD http://index.example:8080/a HTTP/1.1\r\n\r\n"


def test_head__field_that_questions_ask_by__is_theirs_alone() -> None:
    """The body is read by what was asked for: two fields, or the wrong one, would be misread."""
    head = Heads({"accept": "no", "ACCEPT-ENCODING": "br", "range": "bytes=0-"}).head("GET", "/", {"Accept": "yes"})

    assert head == b"GET / HTTP/1.1\r\nAccept: yes\r\n\r\n"


@pytest.mark.parametrize("text", ["a\r\nX: y", "a\nX: y", "a\rb", "a\0b", "\x7f"])
def test_head__what_would_end_a_line__is_refused(text: str) -> None:
    for fields in ({"X": text}, {text: "x"}):
        with pytest.raises(ValueError, match="control characters"):
            Heads(fields)
        with pytest.raises(ValueError, match="control characters"):
            Heads(ALWAYS).head("GET", "/", fields)


def test_head__tab_and_letters_of_all_scripts__are_sent() -> None:
    assert Heads({"X": "a\tü"}).head("GET", "/", {}) == "GET / HTTP/1.1\r\nX: a\tü\r\n\r\n".encode()


@given(st.text(max_size=60), st.text(max_size=60))
def test_head__any_url_and_any_value__are_one_line_each(url: str, value: str) -> None:
    try:
        path = target(f"http://index.example/{url}").path
        head = Heads(ALWAYS).head("GET", path, {"If-None-Match": value})
    except (Trouble, ValueError):
        return

    first, *fields, end, nothing = head.split(b"\r\n")
    assert len(first.split(b" ")) == 3
    assert [line.partition(b": ")[0] for line in fields] == [b"Host", b"User-Agent", b"If-None-Match"]
    assert (end, nothing) == (b"", b"")
