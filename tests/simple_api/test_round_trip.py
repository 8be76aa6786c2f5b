"""What is read of a page survives both serialisations and being read again, as in a proxy of a proxy."""

from __future__ import annotations

import msgspec.structs
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.model import File, Filename, Hashes, ProjectPage
from pyproxy.simple_api import Kind, ParsedPage, parse_page, render_page
from pyproxy.simple_api import linker as linker_for
from pyproxy.simple_api.fields import text
from tests.simple_api.pages import HTML, JSON, LINK, PAGE, PROJECT, file

DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50).map(text).filter(bool)
HASHES: st.SearchStrategy[Hashes] = st.fixed_dictionaries({}, optional={"sha256": DIGESTS, "blake2b": DIGESTS})
URLS = st.sampled_from([f"https://index.example/{name}/" for name in "abc"])
NAMES = st.sampled_from(
    [
        f"proj-{version}{end}"
        for version in ("1.0", "2.0", "1!3.0+x")
        for end in (".tar.gz", "-py3-none-any.whl", ".zip")
    ]
)


@st.composite
def files(draw: st.DrawFn) -> File:
    return file(
        draw(NAMES),
        hashes=draw(HASHES),
        requires_python=draw(st.none() | TEXTS.map(str.strip).filter(bool)),
        yanked=draw(st.booleans() | TEXTS),
        core_metadata=draw(st.booleans() | HASHES.filter(bool)),
        gpg_sig=draw(st.none() | st.booleans()),
        size=draw(st.none() | st.integers(0, 2**63 - 1)),
        upload_time=draw(st.none() | st.datetimes().map(lambda moment: moment.isoformat() + "Z")),
        provenance=draw(st.none() | st.just("https://index.example/provenance")),
    )


@st.composite
def pages(draw: st.DrawFn) -> ProjectPage:
    status = draw(st.none() | st.sampled_from(["archived", "deprecated", "active"]))
    return ProjectPage(
        PROJECT,
        tuple(draw(st.lists(files(), max_size=4, unique_by=lambda found: found.filename))),
        status=status,
        status_reason=draw(st.none() | TEXTS) if status else None,
        tracks=tuple(draw(st.lists(URLS, unique=True))),
        alternate_locations=tuple(draw(st.lists(URLS, unique=True))),
    )


def again(page: ProjectPage, kind: Kind) -> ParsedPage:
    """The page as a proxy behind this one reads it; links and URLs, which change on the way, put back."""
    body = render_page(page, kind, files="../../files/", provenance=lambda found: found.provenance or "")
    parsed = parse_page(body, kind.content_type, PAGE, PROJECT, linker=LINK)
    back = {found.filename: found for found in page.files}
    restored = tuple(
        msgspec.structs.replace(found, url=back[found.filename].url, link=back[found.filename].link)
        for found in parsed.page.files
    )
    return ParsedPage(msgspec.structs.replace(parsed.page, files=restored), parsed.dropped, parsed.lost)


def one_hash(hashes: Hashes) -> Hashes:
    """HTML has room for one."""
    best = "sha256" if "sha256" in hashes else "blake2b"
    return {best: hashes[best]} if hashes else {}


def advertised(found: File) -> File:
    """Every wheel's metadata is, whatever the remote says."""
    return msgspec.structs.replace(found, core_metadata=found.core_metadata or found.is_wheel)


def html_can_carry(found: File) -> File:
    metadata = found.core_metadata
    return msgspec.structs.replace(
        found,
        hashes=one_hash(found.hashes),
        core_metadata=one_hash(metadata) if isinstance(metadata, dict) else metadata,
        size=None,
        upload_time=None,
    )


@given(pages())
def test_page__through_json__is_the_same(page: ProjectPage) -> None:
    parsed = again(page, Kind.JSON)
    expected = msgspec.structs.replace(page, files=tuple(map(advertised, page.files)), versions=parsed.page.versions)
    assert (parsed.page, parsed.lost) == (expected, 0)


@given(pages())
def test_page__through_html__is_what_html_can_carry(page: ProjectPage) -> None:
    expected = msgspec.structs.replace(page, files=tuple(html_can_carry(advertised(found)) for found in page.files))
    for kind in (Kind.HTML, Kind.TEXT):
        parsed = again(page, kind)
        assert (parsed.page, parsed.lost) == (expected, 0)


@given(pages())
def test_page__html_then_json_then_html__changes_no_more(page: ProjectPage) -> None:
    once = again(page, Kind.HTML).page
    back = again(again(once, Kind.JSON).page, Kind.HTML).page
    assert back == once
    assert render_page(back, Kind.HTML, files="f/", provenance=None) == render_page(
        once, Kind.HTML, files="f/", provenance=None
    )


def test_versions__through_json__are_those_of_the_files() -> None:
    page = ProjectPage(PROJECT, (file("proj-1.0.tar.gz"),), versions=("1.0.0", "2.0"))
    assert again(page, Kind.JSON).page.versions == ("1.0.0",)


def test_links__through_three_proxies__map_back_to_the_first() -> None:
    name = Filename("proj-1.0+cpu-py3-none-any.whl")
    body = (
        f'{{"files":[{{"filename":"{name}","url":"https://files.example/a@b/{name.replace("+", "%2B")}"}}]}}'.encode()
    )
    page = parse_page(body, JSON, PAGE, PROJECT, linker=LINK).page
    assert page.files[0].link == f"up~files.example/a%40b/{name.replace('+', '%2B')}"
    for port, kind in ((1, Kind.JSON), (2, Kind.HTML)):
        origin = f"http://127.0.0.1:{port}"
        body = render_page(page, kind, files="../../files/", provenance=None)
        url = f"{origin}/pypi/main/simple/proj/"
        parsed = parse_page(body, JSON if port == 1 else HTML, url, PROJECT, linker=linker_for("up", origin, ()))
        assert parsed.lost == 0
        assert parsed.page.files[0].url == f"{origin}/pypi/main/files/{page.files[0].link}"
        page = parsed.page
    assert (
        page.files[0].link == f"up/pypi/main/files/up/pypi/main/files/up~files.example/a%40b/{name.replace('+', '%2B')}"
    )
