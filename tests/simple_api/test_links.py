"""Where this proxy serves what a remote's links lead to."""

from __future__ import annotations

import threading
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.errors import BadName
from pyproxy.simple_api import Source, linker, source_of

REMOTE = "https://index.example/simple/"


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://index.example/packages/a/x.whl", "up/packages/a/x.whl"),
        ("https://INDEX.example:443/packages/x.whl", "up/packages/x.whl"),
        ("https://index.example/x.whl?sig=a%26b", "up/x.whl"),
        ("https://index.example/a/../b/x.whl", "up/b/x.whl"),
        ("https://index.example/x%2Bcpu.whl", "up/x%2Bcpu.whl"),
        ("https://index.example/x+cpu.whl", "up/x+cpu.whl"),
        ("https://index.example/a@b/x.whl", "up/a%40b/x.whl"),
        ("https://index.example/a%40b/x.whl", "up/a%40b/x.whl"),
        ("https://index.example/a:b/x.whl", "up/a:b/x.whl"),
        ("https://index.example//a/x.whl", "up/%2Fa/x.whl"),
        ("https://index.example/a b/ü.whl", "up/a%20b/%C3%BC.whl"),
        ("https://files.example/x.whl", "up~files.example/x.whl"),
        ("https://Files.Example:443/x.whl", "up~files.example/x.whl"),
        ("https://files.example:8443/x.whl", "up~files.example:8443/x.whl"),
        ("https://index.example:8443/x.whl", "up~index.example:8443/x.whl"),
        ("http://files.example/x.whl", "up~files.example:80/x.whl"),
        ("http://index.example/x.whl", "up~index.example:80/x.whl"),
        ("https://[::1]:8080/x.whl", "up~%5B::1%5D:8080/x.whl"),
        ("https://[::1]/x.whl", "up~%5B::1%5D/x.whl"),
    ],
)
def test_link__is_the_source_and_the_path_of_the_files_url(url: str, link: str) -> None:
    assert linker("up", REMOTE, None)(url) == link


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("http://index.example/x.whl", "up/x.whl"),
        ("http://index.example:80/x.whl", "up/x.whl"),
        ("https://index.example/x.whl", "up~index.example:443/x.whl"),
        ("https://files.example/x.whl", "up~files.example:443/x.whl"),
        ("http://files.example/x.whl", "up~files.example/x.whl"),
    ],
)
def test_link__remote_without_tls__names_the_port_of_others_with_it(url: str, link: str) -> None:
    assert linker("up", "http://index.example:80/simple/", None)(url) == link


def test_link__remote_at_a_port__is_its_own_there_alone() -> None:
    link = linker("up", "http://127.0.0.1:8100/json/simple/", None)
    assert link("http://127.0.0.1:8100/json/files/x.whl") == "up/json/files/x.whl"
    assert link("http://127.0.0.1:8101/json/files/x.whl") == "up~127.0.0.1:8101/json/files/x.whl"


@pytest.mark.parametrize(
    ("file_hosts", "url", "allowed"),
    [
        ((), "https://index.example/x.whl", True),
        ((), "https://index.example:8443/x.whl", False),
        ((), "https://files.example/x.whl", False),
        (("files.example",), "https://files.example/x.whl", True),
        (("Files.Example",), "https://files.example/x.whl", True),
        (("files.example",), "https://files.example:8443/x.whl", True),
        (("files.example",), "https://a.files.example/x.whl", False),
        (("files.example",), "https://files.example.evil.example/x.whl", False),
        (("files.example",), "https://files.example./x.whl", False),
        (("files.example:8443",), "https://files.example:8443/x.whl", True),
        (("files.example:8443",), "https://files.example/x.whl", False),
        (("files.example:443",), "https://files.example/x.whl", True),
        (("[::1]",), "https://[::1]:8080/x.whl", True),
        (("[::1]:8080",), "https://[::1]:8080/x.whl", True),
        (("[::1]:8080",), "https://[::1]:8081/x.whl", False),
    ],
)
def test_link__file_hosts__says_which_hosts_are_linked(file_hosts: tuple[str, ...], url: str, *, allowed: bool) -> None:
    assert (linker("up", REMOTE, file_hosts)(url) is not None) is allowed


@pytest.mark.parametrize(
    "url",
    ["javascript:x", "file:///x.whl", "https://u@files.example/x.whl", "https://files.example\\/x.whl", "https://[/x"],
)
def test_link__hostile_url__has_none(url: str) -> None:
    assert linker("up", REMOTE, None)(url) is None


@given(st.text())
def test_link__any_url__is_none_or_stays_below_the_source(url: str) -> None:
    link = linker("up", REMOTE, None)(f"https://files.example/{url}")
    assert link is None or (link.startswith("up~files.example/") and "@" not in link and link.isascii())
    if link is not None:
        assert not urlsplit(f"../../files/{link}").query
        assert ".." not in unquote(link).split("/")


def test_link__from_many_threads__is_right_in_each() -> None:
    link = linker("up", REMOTE, None)
    wrong: list[str | None] = []

    def ask(thread: int) -> None:
        for n in range(3000):
            found = link(f"https://h{thread}-{n}.example/x.whl")
            if found != f"up~h{thread}-{n}.example/x.whl":
                wrong.append(found)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("url", ["", "index.example", "ftp://index.example/", "https://u:p@index.example/"])
def test_linker__remote_without_web_address__is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|host|link"):
        linker("up", url, None)


@pytest.mark.parametrize(
    ("raw", "source"),
    [
        ("up", Source("up", None)),
        ("up~files.example", Source("up", "files.example")),
        ("up~files.example:80", Source("up", "files.example:80")),
        ("up~%5B::1%5D:8080", Source("up", "[::1]:8080")),
        ("up~[::1]:8080", Source("up", "[::1]:8080")),
        ("up%7Efiles.example", Source("up", "files.example")),
    ],
)
def test_source_of__what_links_name__is_read_back(raw: str, source: Source) -> None:
    assert source_of(raw) == source


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "~",
        "~files.example",
        "up~",
        "up~u@h",
        "up~h:",
        "up~h:x",
        "up~a/b",
        "up~..",
        "up%00",
        "up%2Fx",
        "up~h\n",
        "up~H",
    ],
)
def test_source_of__what_no_link_names__is_refused(raw: str) -> None:
    with pytest.raises(BadName):
        source_of(raw)


@given(st.text())
def test_source_of__anything__is_read_or_refused(raw: str) -> None:
    try:
        assert source_of(raw).remote
    except BadName as exc:
        assert str(exc).isascii()  # noqa: PT017 - either outcome is right
