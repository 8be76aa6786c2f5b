from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.config.addresses import as_host, proxy_url, remote_url, with_userinfo, without_userinfo
from pyproxy.config.values import Wrong, duration, name_glob, show_duration, show_size, size
from pyproxy.model import normalised
from pyproxy.secret import Secret

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@given(st.integers(0, 30000), st.sampled_from(sorted(UNITS)))
def test_duration__shown_and_read_again__is_the_same(count: int, unit: str) -> None:
    seconds = duration(f"{count}{unit}")
    assert seconds == count * UNITS[unit]
    assert duration(show_duration(seconds)) == pytest.approx(seconds, rel=1e-12)


@given(st.decimals(0, 100_000, places=3), st.sampled_from(["s", "m", "h", "d"]))
def test_duration__with_a_fraction__survives_being_shown(count: object, unit: str) -> None:
    try:
        seconds = duration(f"{count}{unit}")
    except Wrong as exc:
        assert "at most 36500d" in str(exc)  # noqa: PT017 (the other way out of the property)
    else:
        assert duration(show_duration(seconds)) == pytest.approx(seconds, rel=1e-12, abs=1e-8)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (0.003, "3ms"),
        (1.5, "1500ms"),
        (90, "90s"),
        (600, "10m"),
        (5400, "90m"),
        (604800, "7d"),
        (1e-6, "0.000001s"),
    ],
)
def test_duration__is_shown_in_the_largest_whole_unit(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


@given(st.integers(1, 1 << 62))
def test_size__shown_and_read_again__is_the_same(count: int) -> None:
    assert size(show_size(count)) == size(count) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [("1B", 1), ("10 MiB", 10 << 20), ("2gib", 2 << 30), ("1.5KiB", 1536), ("1TB", 10**12), ("0.001KB", 1), (5, 5)],
)
def test_size__forms(text: object, count: int) -> None:
    assert size(text) == count


@given(st.text() | st.integers() | st.floats() | st.none() | st.lists(st.text()))
def test_values__anything_else__is_refused_in_words(value: object) -> None:
    for parse in (duration, size, remote_url, proxy_url, name_glob):
        try:
            parse(value)
        except Wrong as exc:
            assert str(exc).isprintable()  # noqa: PT017 (the other way out of the property)


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True), st.integers(0, 20))
def test_name_glob__made_of_a_name__matches_it_however_it_is_spelled(name: str, at: int) -> None:
    assert fnmatchcase(normalised(name), name_glob(name))
    start = name[: 1 + at]
    assert not start[-1].isalnum() or fnmatchcase(normalised(name), name_glob(f"{start}*"))


@pytest.mark.parametrize(
    ("text", "glob"),
    [("Acme", "acme"), ("acme_*", "acme-*"), ("a.-_B?", "a-b?"), ("*", "*"), ("[A-C]x_[!0-9]*", "[a-c]x-[!0-9]*")],
)
def test_name_glob__is_normalised(text: str, glob: str) -> None:
    assert name_glob(text) == glob


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("https://index.example", "https://index.example/"),
        ("HTTPS://Index.Example:443/A/b", "https://index.example/A/b/"),
        ("http://index.example:8080/simple/", "http://index.example:8080/simple/"),
        ("http://[0:0::1]:80/", "http://[::1]/"),
        ("http://index.example/%7Ebob/", "http://index.example/%7Ebob/"),
    ],
)
def test_remote_url__is_normalised(given_url: str, url: str) -> None:
    assert remote_url(given_url) == url
    assert remote_url(url) == url


@pytest.mark.parametrize("url", ["https://bob@h/", "https://bob:pw@h/", "https://:pw@h/"])
def test_remote_url__with_userinfo__is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(Wrong, match="username and password") as caught:
        remote_url(url)
    assert "bob" not in str(caught.value)
    assert "pw" not in str(caught.value)


def test_with_userinfo__is_taken_apart() -> None:
    address = with_userinfo("https://a%3Ab:p%2Fw@h:8443/x")
    assert (address.url, address.username, address.password) == ("https://h:8443/x/", Secret("a:b"), Secret("p/w"))


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("https://u:p@Proxy.example/", "https://u:p@proxy.example:443"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
)
def test_proxy_url__is_normalised(given_url: str, url: str) -> None:
    assert proxy_url(given_url) == Secret(url)


def test_without_userinfo__hides_it() -> None:
    assert without_userinfo("http://u:p@h:1/x") == "http://***@h:1/x"
    assert without_userinfo("http://h:1/x") == "http://h:1/x"


@pytest.mark.parametrize("raw", ["", "-a", "a b", "[::1", "::1", "[fe80::1%eth0]", "a/b", "a@b", "é.example", "a..b"])
def test_as_host__what_is_none(raw: str) -> None:
    assert as_host(raw) is None


def test_secret__never_prints() -> None:
    secret = Secret("hunter2")
    assert {str(secret), repr(secret), f"{secret}", f"{secret!r:>3}", "%s" % secret} == {"***"}  # noqa: UP031 (logging's way)
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")
