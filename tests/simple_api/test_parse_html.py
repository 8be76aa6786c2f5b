"""Pages as HTML, from remotes that mean well and from others."""

from __future__ import annotations

import pytest

from pyproxy.errors import PageUnreadable
from pyproxy.model import Hashes
from pyproxy.simple_api import parse_html as module
from tests.simple_api.pages import DIGEST, NAME, OTHER, names, only, parse, parse_html, wheel


def anchor(href: str = NAME, **attributes: str) -> str:
    written = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<a href="{href}"{written}>a file</a><br>'


def test_file__all_attributes__are_read() -> None:
    found = only(
        parse_html(
            anchor(
                f"../../f/{NAME}#sha256={DIGEST}",
                data_requires_python="&gt;=3.8,&lt;4",
                data_yanked="bad &lt;b&gt;build&lt;/b&gt; &amp; it&#x27;s &quot;unsafe&quot;",
                data_core_metadata=f"sha256={OTHER}",
                data_gpg_sig="true",
                data_provenance="https://index.example/provenance",
            )
        )
    )
    assert found.filename == NAME
    assert found.url == f"https://index.example/f/{NAME}"
    assert found.link == f"up/f/{NAME}"
    assert found.hashes == {"sha256": DIGEST}
    assert found.requires_python == ">=3.8,<4"
    assert found.yanked == 'bad <b>build</b> & it\'s "unsafe"'
    assert found.core_metadata == {"sha256": OTHER}
    assert found.gpg_sig is True
    assert (found.size, found.upload_time) == (None, None)
    assert found.provenance == "https://index.example/provenance"


def test_file__href_alone__is_enough() -> None:
    found = only(parse_html(f"<a href={NAME}>"))
    assert (found.hashes, found.yanked, found.core_metadata, found.gpg_sig) == ({}, False, False, None)


def test_name__is_that_of_the_url_not_of_the_text() -> None:
    assert only(parse_html(f'<a href="{NAME}">evil-2.0.tar.gz</a>')).filename == NAME


def test_name__is_decoded() -> None:
    found = only(parse_html(anchor("f/proj-1.0%2Bcpu-py3-none-any.whl")))
    assert found.filename == "proj-1.0+cpu-py3-none-any.whl"
    assert found.link == "up/simple/proj/f/proj-1.0%2Bcpu-py3-none-any.whl"


@pytest.mark.parametrize(
    ("fragment", "hashes"),
    [
        ("", {}),
        (f"sha256={DIGEST}", {"sha256": DIGEST}),
        (f"SHA256={DIGEST.upper()}", {"sha256": DIGEST}),
        (f"md5={'0' * 32}", {"md5": "0" * 32}),
        (f"sha512={DIGEST * 2}", {"sha512": DIGEST * 2}),
        (f"egg=proj&amp;sha256={DIGEST}", {"sha256": DIGEST}),
        (f"sha256={DIGEST}&subdirectory=x", {"sha256": DIGEST}),
        (f"sha256={DIGEST}&amp;md5={'0' * 32}", {"sha256": DIGEST, "md5": "0" * 32}),
        ("egg=proj-1.0", {}),
        ("top", {}),
    ],
)
def test_hash__in_the_fragment__is_read(fragment: str, hashes: Hashes) -> None:
    assert only(parse_html(anchor(f"{NAME}#{fragment}"))).hashes == hashes


@pytest.mark.parametrize(
    ("attributes", "metadata"),
    [
        ({}, False),
        ({"data_core_metadata": "true"}, True),
        ({"data_core_metadata": f"sha256={OTHER}"}, {"sha256": OTHER}),
        ({"data_core_metadata": f"SHA256={OTHER}"}, {"sha256": OTHER}),
        ({"data_core_metadata": "sha256=none"}, True),
        ({"data_core_metadata": "false"}, False),
        ({"data_core_metadata": ""}, False),
        ({"data_core_metadata": "yes"}, True),
        ({"data_dist_info_metadata": f"sha256={OTHER}"}, {"sha256": OTHER}),
        ({"data_core_metadata": "true", "data_dist_info_metadata": f"sha256={OTHER}"}, True),
        ({"data_core_metadata": "false", "data_dist_info_metadata": "true"}, False),
    ],
)
def test_core_metadata__newer_attribute__counts(attributes: dict[str, str], metadata: bool | Hashes) -> None:  # noqa: FBT001 - the field's type
    assert only(parse_html(anchor(**attributes))).core_metadata == metadata


@pytest.mark.parametrize(
    ("written", "yanked"),
    [
        ("", False),
        (" data-yanked", True),
        (' data-yanked=""', True),
        (" data-yanked='why'", "why"),
        (" DATA-YANKED=why", "why"),
    ],
)
def test_yanked__attribute_with_or_without_value__is_read(written: str, yanked: bool | str) -> None:  # noqa: FBT001 - the field's type
    assert only(parse_html(f"<a href={NAME}{written}>x</a>")).yanked == yanked


@pytest.mark.parametrize(("value", "sig"), [("true", True), ("TRUE", True), ("false", False), ("", False)])
def test_gpg_sig__is_read(value: str, *, sig: bool) -> None:
    assert only(parse_html(anchor(data_gpg_sig=value))).gpg_sig is sig


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ('<base href="https://files.example/x/">', f"https://files.example/x/{NAME}"),
        ('<base href="../../files/">', f"https://index.example/files/{NAME}"),
        ('<base target="_blank"><base href="/y/">', f"https://index.example/y/{NAME}"),
        ('<base href="/y/"><base href="/z/">', f"https://index.example/y/{NAME}"),
        ('<base href="javascript:x">', f"https://index.example/simple/proj/{NAME}"),
        ('<base href="file:///etc/">', f"https://index.example/simple/proj/{NAME}"),
        ('<base href="https://u:p@evil.example/"><base href="/z/">', f"https://index.example/simple/proj/{NAME}"),
        ('<base href="">', f"https://index.example/simple/proj/{NAME}"),
    ],
)
def test_base__first_with_a_href__counts_if_it_is_a_web_address(base: str, url: str) -> None:
    assert only(parse_html(anchor(), base)).url == url


@pytest.mark.parametrize(
    "href",
    [
        f"javascript:{NAME}",
        f"java&#10;script:{NAME}",
        f"data:text/html,{NAME}",
        f"file:///f/{NAME}",
        f"ftp://files.example/{NAME}",
        f"https://u@files.example/{NAME}",
        f"https:///{NAME}",
        f"https://files.example:99999/{NAME}",
        f"f%5C{NAME}",
        f"%2e%2e/{NAME}",
        "f%2F" + NAME,
        f"{NAME}#sha256=nonsense",
        f"{NAME}%00",
        f"{NAME}%0A",
        "proj-1.0.txt",
        "proj-1.0-py3-none-any.whl.metadata",
        "..%2f..%2fx.whl",
        "%e2%80%ae.whl",
        "x" * 5000 + ".whl",
    ],
)
def test_hostile_link__is_lost_alone(href: str) -> None:
    parsed = parse_html(anchor(href) + anchor(wheel("2.0")))
    assert names(parsed) == [wheel("2.0")]
    assert parsed.lost == 1
    assert parsed.dropped[0].isprintable()


@pytest.mark.parametrize(
    "link", ['<a href="../">', '<a href="?C=N;O=D">', '<a href="#top">', "<a name=x>", '<a href="">', '<a href="/">']
)
def test_link__that_means_no_file__is_no_loss(link: str) -> None:
    parsed = parse_html(f"{link}x</a>{anchor()}")
    assert names(parsed) == [NAME]
    assert parsed.lost == 0


def test_duplicates__first_stands() -> None:
    parsed = parse_html(
        anchor(f"{NAME}#sha256={DIGEST}") + anchor(f"f/{NAME}#sha256={DIGEST}") + anchor(f"{NAME}#sha256={OTHER}")
    )
    assert only_hash(parsed.page.files[0].hashes) == DIGEST
    assert len(parsed.page.files) == 1
    assert parsed.lost == 1


def only_hash(hashes: Hashes) -> str:
    (digest,) = hashes.values()
    return digest


def test_metas__of_the_page__are_read() -> None:
    head = """<meta name="pypi:repository-version" content="1.4">
        <META NAME='PyPI:Project-Status' CONTENT='archived'>
        <meta name="pypi:project-status-reason" content="gone to &quot;rest&quot; &lt;soon&gt;">
        <meta name="pypi:tracks" content="https://a.example/">
        <meta name="pypi:tracks" content="https://b.example/">
        <meta name="pypi:tracks" content="javascript:x">
        <meta name="pypi:alternate-locations" content="https://c.example/">
        <meta name="generator" content="x"><meta charset="utf-8">"""
    found = parse_html(anchor(), head).page
    assert (found.status, found.status_reason) == ("archived", 'gone to "rest" <soon>')
    assert found.tracks == ("https://a.example/", "https://b.example/")
    assert found.alternate_locations == ("https://c.example/",)
    assert found.versions is None


@pytest.mark.parametrize("version", ["1.0", "1.99", "1"])
def test_version__of_major_1__is_read(version: str) -> None:
    head = f'<meta name="pypi:repository-version" content="{version}">'
    assert names(parse_html(anchor(), head)) == [NAME]


@pytest.mark.parametrize("version", ["2.0", "0.1", "", "x"])
def test_version__of_another_major__is_refused(version: str) -> None:
    with pytest.raises(PageUnreadable, match=r"only 1\.x is understood"):
        parse_html(anchor(), f'<meta name="pypi:repository-version" content="{version}">')


@pytest.mark.parametrize(
    "body",
    [
        b"<html><title>Links for proj</title></html>",
        b"<html><head><TITLE>LINKS FOR proj</TITLE></head><body></body></html>\n<!-- 1 ms -->\n",
        b"<html><h1>Index of /simple/proj</h1></html>",
        b"<html><title>Simple Index</title></html>",
        b'<!DOCTYPE html><html><meta name="pypi:repository-version" content="1.0"></html>',
        b'<meta name="pypi:repository-version" content="1.0">',
        b"<h1>Links for proj</h1>",
    ],
)
def test_page__without_files_that_says_what_it_is__is_an_empty_page(body: bytes) -> None:
    assert parse(body, "text/html").page.files == ()


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body><h1>Please log in to the wifi</h1></body></html>",
        b"<html><title>Sign in</title><a href='/login'>log in</a><a href='/portal/Setup-1.0.exe'>our app</a></html>",
        b"<html><title>503 Service Unavailable</title></html>",
        b"",
        b"   \n",
        b"OK",
        b'{"files": []}',
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        b"<html><!-- Links for proj --><script>Simple index</script></html>",
    ],
)
def test_page__that_is_no_index__is_refused(body: bytes) -> None:
    with pytest.raises(PageUnreadable, match="no index page"):
        parse(body, "text/html")


def test_page__without_any_sign_but_a_file_of_the_project__is_one() -> None:
    assert names(parse(f"<html><title>x</title>{anchor()}</html>".encode(), "text/html")) == [NAME]
    assert names(parse(anchor().encode(), "text/html")) == [NAME]


def test_page__cut_anywhere__is_refused_or_ends_with_the_last_link() -> None:
    whole = f"<!DOCTYPE html>\n<html><title>Links for proj</title>\n{anchor()}{anchor(wheel('2.0'))}</html>".encode()
    assert names(parse(whole, "text/html")) == [NAME, wheel("2.0")]
    for kept in range(len(whole) - 1):
        with pytest.raises(PageUnreadable):
            parse(whole[:kept], "text/html")


def test_page__without_a_root__is_whole_as_it_stands() -> None:
    body = f"<title>Links for proj</title>{anchor()}".encode()
    assert names(parse(body, "text/html")) == [NAME]
    with pytest.raises(PageUnreadable, match="cut short"):
        parse(body + b'<a href="proj-2.0', "text/html")


def test_page__in_another_charset__keeps_its_reasons() -> None:
    written = f"<title>Links for proj</title>{anchor(data_yanked='schädlich')}"
    for charset in ("utf-8", "iso-8859-1", "windows-1252"):
        parsed = parse(written.encode(charset), f'text/html; charset="{charset}"')
        assert only(parsed).yanked == "schädlich"


def test_links__more_than_any_page__are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_ANCHORS", 3)
    assert len(parse_html(anchor() * 3).page.files) == 1
    with pytest.raises(PageUnreadable, match="more links than any page may"):
        parse_html(anchor() * 4)
