from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from pyproxy.upstream.trouble import Trouble
from pyproxy.upstream.urls import Origin, admitted, redirected, target


@pytest.mark.parametrize(
    "url",
    [
        "http://index.example/simple/a/",
        "https://index.example:8443/a%2Fb/%7e/c%20d?sig=a%26b&x=1",
        "http://index.example/a/../b/./c",
        "http://index.example/a+b!c(d)*'e,f;g=h:i@j",
        "http://index.example//twice",
        "http://[2606:4700::1111]:8080/x",
    ],
)
def test_target__is_sent_as_it_was_given(url: str) -> None:
    assert target(url).url == url


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://index.example/a b", "http://index.example/a%20b"),
        ("http://index.example/ü", "http://index.example/%C3%BC"),
        ('http://index.example/"<>{}|\\^`', "http://index.example/%22%3C%3E%7B%7D%7C%5C%5E%60"),
        ("http://index.example/a#fragment", "http://index.example/a"),
        ("http://index.example", "http://index.example/"),
        ("http://index.example?q", "http://index.example/?q"),
        (" http://index.example/a ", "http://index.example/a"),
        ("HTTP://index.example/a", "http://index.example/a"),
    ],
)
def test_target__what_fits_no_request_line__is_escaped(url: str, sent: str) -> None:
    assert target(url).url == sent


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://Index.Example./a", Origin("http", "index.example", 80)),
        ("https://index.example", Origin("https", "index.example", 443)),
        ("https://index.example:443/", Origin("https", "index.example", 443)),
        ("http://127.0.0.1:8080/", Origin("http", "127.0.0.1", 8080)),
        ("http://[::1]/", Origin("http", "::1", 80)),
    ],
)
def test_target__origin(url: str, origin: Origin) -> None:
    assert target(url).origin == origin


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://index.example/",
        "javascript:alert(1)",
        "data:,x",
        "//index.example/",
        "/simple/",
        "simple/",
        "",
        "http:///path",
        "http:/path",
        "http://",
        "http://user@index.example/",
        "http://user:pass@index.example/",
        "http://index.example\\@evil.example/",
        "http://index.example:0/",
        "http://index.example:99999/",
        "http://index.example:8_0/",
        "http://index.example:x/",
        "http://ex ample/",
        "http://exämple/",
        "http://1。2。3。4/",
        "http://2130706433/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[v1.fe80]/",
        "http://[::gg]/",
        "http://index.example/a\r\nHost: evil",
        "http://index.example/a\0b",
        "http://index.example/\x7f",
        "http://index.example/" + "a" * 8000,
        "http://-index.example/",
    ],
)
def test_target__hostile_or_odd__is_refused(url: str) -> None:
    with pytest.raises(Trouble, match="led to"):
        target(url)


@given(st.text(max_size=40))
def test_target__any_text__is_a_target_or_trouble(text: str) -> None:
    for url in (text, f"http://{text}", f"http://index.example/{text}"):
        try:
            found = target(url)
        except Trouble:
            continue
        connected = URL(found.base, encoded=True)
        assert connected.raw_host is not None
        assert connected.raw_host.lower().rstrip(".") == found.origin.host
        assert URL(found.url, encoded=True).raw_path_qs == found.path
        assert found.url.isascii()
        assert " " not in found.url


@pytest.mark.parametrize(
    ("location", "there"),
    [
        ("/b", "http://index.example/b"),
        ("../c/", "http://index.example/simple/c/"),
        ("?page=2", "http://index.example/simple/a/?page=2"),
        ("//other.example/x", "http://other.example/x"),
        ("https://other.example/x", "https://other.example/x"),
        (" /b ", "http://index.example/b"),
    ],
)
def test_redirected__leads_there(location: str, there: str) -> None:
    assert redirected(target("http://index.example/simple/a/"), location).url == there


@pytest.mark.parametrize(
    "location", [None, "", "  ", "file:///etc/passwd", "http://u:p@index.example/", "http://[", "\x01"]
)
def test_redirected__nowhere__is_trouble(location: str | None) -> None:
    with pytest.raises(Trouble):
        redirected(target("http://index.example/simple/a/"), location)


def test_redirected__out_of_tls__is_trouble() -> None:
    with pytest.raises(Trouble, match="from https to http"):
        redirected(target("https://index.example/"), "http://index.example/")


OWN = Origin("https", "index.example", 443)


@pytest.mark.parametrize(
    ("hosts", "host", "port", "expected"),
    [
        (None, "anywhere.example", 443, True),
        ((), "index.example", 443, True),
        ((), "index.example", 8443, True),
        ((), "files.example", 443, False),
        (("files.example",), "files.example", 8443, True),
        (("Files.Example.",), "files.example", 443, True),
        (("files.example:8443",), "files.example", 8443, True),
        (("files.example:8443",), "files.example", 443, False),
        (("files.example",), "evil.files.example", 443, False),
        (("[::1]:80",), "::1", 80, True),
        (("[::1]",), "::1", 80, True),
    ],
)
def test_admitted(hosts: tuple[str, ...] | None, host: str, port: int, *, expected: bool) -> None:
    assert admitted(Origin("https", host, port), OWN, hosts) is expected
