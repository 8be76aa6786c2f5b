"""What a link on a page means, and which are taken at all."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyproxy.simple_api.references import BadLink, Base, without_dots

BASE = Base("https://index.example/a/b/c/")


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("https://files.example/x/y.whl", "https://files.example/x/y.whl"),
        ("HTTPS://Files.Example/X/y.whl", "https://files.example/X/y.whl"),
        ("https://files.example:443/y.whl", "https://files.example/y.whl"),
        ("https://files.example:8443/y.whl", "https://files.example:8443/y.whl"),
        ("https://files.example:/y.whl", "https://files.example/y.whl"),
        ("http://files.example:080/y.whl", "http://files.example/y.whl"),
        ("http://[::1]:8080/y.whl", "http://[::1]:8080/y.whl"),
        ("//files.example/y.whl", "https://files.example/y.whl"),
        ("y.whl", "https://index.example/a/b/c/y.whl"),
        ("./y.whl", "https://index.example/a/b/c/y.whl"),
        ("../y.whl", "https://index.example/a/b/y.whl"),
        ("../../f/y.whl", "https://index.example/a/f/y.whl"),
        ("../../../../../y.whl", "https://index.example/y.whl"),
        ("../../f/../g/./y.whl", "https://index.example/a/g/y.whl"),
        ("/f/y.whl", "https://index.example/f/y.whl"),
        ("/f/../../y.whl", "https://index.example/y.whl"),
        ("f//y.whl", "https://index.example/a/b/c/f//y.whl"),
        ("..//f/y.whl", "https://index.example/a/b//f/y.whl"),
        ("", "https://index.example/a/b/c/"),
        ("..", "https://index.example/a/b/"),
        ("?x=1", "https://index.example/a/b/c/?x=1"),
        ("y.whl?sig=a%26b&x=1#sha256=00", "https://index.example/a/b/c/y.whl?sig=a%26b&x=1"),
        ("y%2Bcpu.whl", "https://index.example/a/b/c/y%2Bcpu.whl"),
        ("y+cpu.whl", "https://index.example/a/b/c/y+cpu.whl"),
        ("1%211.0.whl", "https://index.example/a/b/c/1%211.0.whl"),
        ("a b/ü.whl", "https://index.example/a/b/c/a%20b/%C3%BC.whl"),
        ('a"<>`{}|^.whl', "https://index.example/a/b/c/a%22%3C%3E%60%7B%7D%7C%5E.whl"),
        ("100%.whl", "https://index.example/a/b/c/100%25.whl"),
        ("a%2Fb/y.whl", "https://index.example/a/b/c/a%2Fb/y.whl"),
        ("y.whl?a=[1]", "https://index.example/a/b/c/y.whl?a=%5B1%5D"),
        ("u@h/y.whl", "https://index.example/a/b/c/u@h/y.whl"),
        ("f/a:b/y.whl", "https://index.example/a/b/c/f/a:b/y.whl"),
        (".hidden/y.whl", "https://index.example/a/b/c/.hidden/y.whl"),
        ("f/.hidden/y.whl", "https://index.example/a/b/c/f/.hidden/y.whl"),
        ("  y.whl\n", "https://index.example/a/b/c/y.whl"),
        ("https://files.example", "https://files.example/"),
        ("https://files.example?x", "https://files.example/?x"),
        ("https://files.example/a/../../y.whl", "https://files.example/y.whl"),
    ],
)
def test_resolve__reference__leads_where_the_rfc_says(reference: str, url: str) -> None:
    assert BASE.resolve(reference).url == url


@pytest.mark.parametrize(
    "reference",
    [
        "javascript:alert(1)//y.whl",
        "file:///etc/y.whl",
        "FILE:///etc/y.whl",
        "data:text/html,y.whl",
        "ftp://files.example/y.whl",
        "blob:https://files.example/y.whl",
        "http:y.whl",
        "https:/y.whl",
        "http://",
        "http:///y.whl",
        "//",
        "///y.whl",
        "https://user@files.example/y.whl",
        "https://user:password@files.example/y.whl",
        "//user@files.example/y.whl",
        "https://index.example@files.example/y.whl",
        "https://files.example:0/y.whl",
        "https://files.example:65536/y.whl",
        "https://files.example:x/y.whl",
        "https://files.example:-1/y.whl",
        "https://files.example:123456/y.whl",
        "https://../y.whl",
        "https://files example/y.whl",
        "https://files%2eexample/y.whl",
        "https://fïles.example/y.whl",
        "https://[::1/y.whl",
        "https://[::1%25eth0]/y.whl",
        "https://files.example\\@evil.example/y.whl",
        "..\\..\\y.whl",
        "f\\y.whl",
        "f%5Cy.whl",
        "f\0y.whl",
        "f%00y.whl",
        "f\ny.whl",
        "f%0ay.whl",
        "f/\r\nSet-Cookie: x/y.whl",
        "f\x7fy.whl",
        "y.whl?a=\nb",
        "%2e%2e/%2e%2e/y.whl",
        "f/%2E%2e/y.whl",
        "f/.%2e/y.whl",
        "f/%2e/y.whl",
        "f/..%2f..%2fy.whl",
        "f/%ff.whl",
        "f/%c3%28.whl",
        "f/\ud800.whl",
        "y.whl?\ud800",
        "f" * 5000 + "/y.whl",
    ],
)
def test_resolve__hostile_reference__is_refused(reference: str) -> None:
    with pytest.raises(BadLink):
        BASE.resolve(reference)


@pytest.mark.parametrize(
    ("reference", "name", "fragment"),
    [
        ("f/y-1.0%2Bcpu.whl#sha256=00", "y-1.0+cpu.whl", "sha256=00"),
        ("f/y.whl?x=/z.whl", "y.whl", ""),
        ("f/%2Fetc", "/etc", ""),
        ("f/", "", ""),
        ("https://files.example", "", ""),
    ],
)
def test_resolve__name__is_the_last_segment_decoded(reference: str, name: str, fragment: str) -> None:
    target = BASE.resolve(reference)
    assert (target.name, target.fragment) == (name, fragment)


@pytest.mark.parametrize("url", ["", "/a/b", "index.example/a", "ftp://index.example/", "https://u@index.example/"])
def test_base__no_web_address__is_refused(url: str) -> None:
    with pytest.raises(BadLink):
        Base(url)


def test_base__redirected_to_a_query__is_left_behind() -> None:
    assert Base("https://index.example/a/page?x=/b/#y").resolve("z.whl").url == "https://index.example/a/z.whl"


def test_base__thousands_of_hosts__are_not_remembered() -> None:
    base = Base("https://index.example/")
    for n in range(5000):
        base.resolve(f"https://h{n}.example/y.whl")
    assert len(base._origins) <= 1024


@given(st.lists(st.sampled_from(["", ".", "..", "a", "b.c", "..."]), min_size=1))
def test_without_dots__any_path__has_none_and_stays_below_the_root(segments: list[str]) -> None:
    path = without_dots("/" + "/".join(segments))
    assert path.startswith("/")
    assert not {".", ".."} & set(path.split("/"))


# Pieces that links are made of, good and bad, so that examples come near to what parsers stumble over.
PIECES = st.lists(
    st.sampled_from(
        [
            "https:",
            "http://",
            "//",
            "/",
            "..",
            ".",
            "%2e",
            "%2F",
            "%",
            "%00",
            "@",
            ":",
            "\\",
            "?",
            "#",
            "a",
            "é",
            " ",
            "\n",
            "files.example",
            "[::1]",
            ":80",
            "y.whl",
            "\ud800",
            "&",
            "'",
            '"',
        ]
    )
).map("".join)


@given(PIECES | st.text())
@example("http://a/b/../../c?d#e")
def test_resolve__anything__is_refused_or_harmless(reference: str) -> None:
    try:
        target = BASE.resolve(reference)
    except BadLink:
        return
    parts = urlsplit(target.url)
    assert target.url.isascii()
    assert target.url.isprintable()
    assert parts.scheme in {"http", "https"}
    assert parts.hostname
    assert parts.username is None
    assert parts.port != 0
    assert not {".", ".."} & set(unquote(parts.path).split("/"))
    assert not set(target.url) & set('\\"<> ')
    assert Base(target.url).resolve(target.url).url == target.url
