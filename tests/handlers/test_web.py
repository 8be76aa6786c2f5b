"""Pages for people: well-formed, escaped, with relative links that stay inside, and bounded."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.handlers.markup import CONTENT_SECURITY_POLICY
from pyproxy.handlers.web import SHOWN_LIMIT, DistributionView, distribution_page, project_page, root_page
from pyproxy.model import File, ProjectPage, as_filename, as_project

# Below a prefix of a reverse proxy, which no page can know.
SITE = "https://front.example/some/prefix/"
TEAM = DistributionView(name="team", base_path="domain/team", labels={"tier": "gold"}, remotes=("public", "torch"))
HERE = SITE + "pypi/domain/team/"
EVIL = "<script>alert(1)</script>\"'&\x00\x1b\u202e\ud800\n"

VOID = {"meta", "input", "br", "link"}


@dataclass(slots=True)
class Element:
    """One element: its tag, attributes, and all text inside."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Reader(HTMLParser):
    """A page as read back; fails where tags do not nest."""

    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "an attribute twice"
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        return [e for e in self.elements if e.tag == tag and attributes.items() <= e.attributes.items()]

    def links(self, base: str) -> dict[str, str]:
        """The text of each link, and where it leads from a page at `base`."""
        return {e.text: urljoin(base, e.attributes["href"] or "") for e in self.all("a")}


def read(page: str) -> Reader:
    page.encode()  # raises for half a surrogate pair
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert page.startswith("<!DOCTYPE html>\n")
    assert not reader.open, "something is left open"
    assert not reader.all("script")
    assert not {name for e in reader.elements for name in e.attributes if name.startswith("on") or name == "style"}
    for name in ("src", "action", "srcset"):
        assert not [e for e in reader.elements if name in e.attributes]
    for link in reader.all("a"):
        href = link.attributes["href"] or ""
        assert not urlsplit(href).netloc, f"leads away: {href}"
        assert not urlsplit(href).scheme, f"leads away: {href}"
        assert not href.startswith("/"), f"not relative: {href}"
    ids = [e.attributes["id"] for e in reader.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    assert [e.attributes for e in reader.all("html")] == [{"lang": "en"}]
    assert len(reader.all("h1")) == len(reader.all("main")) == len(reader.all("title")) == 1
    return reader


def a_file(filename: str, **more: object) -> File:
    file = File(as_filename(filename), f"https://index.example/f/{filename}", f"public/f/{filename}")
    return msgspec.structs.replace(file, **more)


def a_page(*filenames: str) -> ProjectPage:
    return ProjectPage(as_project("foo"), tuple(a_file(name) for name in filenames))


def headings(page: str) -> list[str]:
    return [e.text for e in read(page).all("h2")]


# -- the root


def test_root__lists_distributions_with_links_below_any_prefix() -> None:
    reader = read(root_page([TEAM, DistributionView(name="main", base_path="main", default=True)]))
    links = reader.links(SITE)
    assert links["team"] == HERE
    assert links["main"] == SITE + "pypi/main/"
    assert links["The same list as JSON"] == SITE + "distributions"
    assert "tier: gold" in reader.all("table")[0].text
    assert "public, torch" in reader.all("table")[0].text


def test_root__hidden_distribution__is_not_told() -> None:
    page = root_page([replace(TEAM, hidden=True, default=True), DistributionView(name="main", base_path="main")])
    assert "team" not in page
    assert "torch" not in page
    assert "How to use main" in headings(page)


def test_root__nothing_to_list__says_so() -> None:
    assert "No distribution is listed here." in root_page([replace(TEAM, hidden=True)])


def test_root__several_and_no_default__shows_no_commands_of_one() -> None:
    assert headings(root_page([TEAM, DistributionView(name="main", base_path="main")])) == []


# -- a distribution


@pytest.mark.parametrize(
    ("public_url", "index"),
    [
        (None, "http://THIS-HOST/pypi/domain/team/simple/"),
        ("https://pkgs.example", "https://pkgs.example/pypi/domain/team/simple/"),
        ("https://pkgs.example/pre/fix/", "https://pkgs.example/pre/fix/pypi/domain/team/simple/"),
    ],
)
def test_distribution__commands__name_the_index(public_url: str | None, index: str) -> None:
    page = distribution_page(replace(TEAM, public_url=public_url))
    commands = [e.text for e in read(page).all("code")]
    for tool in ("pip install", "pip config", "uv pip", "tool.uv.index", "poetry source", "pdm config", "[[source]]"):
        assert any(tool in command and index in command for command in commands), tool
    assert ("on this host" in page) is (public_url is None)
    assert ("--trusted-host" in page) is (public_url is None)


def test_distribution__takes_uploads__tells_how_to_upload() -> None:
    page = distribution_page(replace(TEAM, public_url="https://pkgs.example", takes_uploads=True))
    commands = [e.text for e in read(page).all("code")]
    for tool in ("twine upload", "uv publish"):
        assert any(
            tool in command and "https://pkgs.example/pypi/domain/team/legacy/" in command for command in commands
        ), tool


def test_distribution__takes_no_uploads__does_not_speak_of_them() -> None:
    assert "upload" not in distribution_page(TEAM)


def test_distribution__links__lead_up_to_the_root_and_to_the_index() -> None:
    links = read(distribution_page(TEAM)).links(HERE)
    assert links["pyproxy"] == SITE
    assert links["All projects (simple index)"] == HERE + "simple/"


def test_distribution__search_form__asks_this_page_by_get() -> None:
    reader = read(distribution_page(TEAM, query='a"b', matches=[]))
    assert reader.all("form")[0].attributes == {"method": "get", "role": "search"}
    assert reader.all("input", name="q")[0].attributes["value"] == 'a"b'
    assert reader.all("label")[0].attributes["for"] == reader.all("input")[0].attributes["id"]


def test_search__matches__are_linked_by_their_normal_name() -> None:
    reader = read(distribution_page(TEAM, query="foo", matches=["Foo.Bar", "foolish"]))
    links = reader.links(HERE)
    assert links["Foo.Bar"] == HERE + "project/foo-bar/"
    assert links["foolish"] == HERE + "project/foolish/"
    assert links["foo"] == HERE + "project/foo/"
    assert "2 projects found." in [e.text for e in reader.all("p")]


def test_search__too_many__shows_the_first_and_says_so() -> None:
    page = distribution_page(TEAM, query="p", matches=[f"p{n}" for n in range(SHOWN_LIMIT + 1234)])
    assert len(read(page).all("li")) == SHOWN_LIMIT
    assert "More than 500 projects found." in page
    assert "1,234" not in page


def test_search__exactly_the_limit__says_nothing_of_more() -> None:
    page = distribution_page(TEAM, query="p", matches=[f"p{n}" for n in range(SHOWN_LIMIT)])
    assert len(read(page).all("li")) == SHOWN_LIMIT
    assert " more" not in read(page).all("main")[0].text


def test_search__that_failed__says_why_and_still_offers_the_name() -> None:
    reader = read(distribution_page(TEAM, query="Foo_Bar", trouble="remote public: timed out"))
    assert "remote public: timed out" in [e.text for e in reader.all("p")]
    assert reader.links(HERE)["foo-bar"] == HERE + "project/foo-bar/"
    assert "found" not in reader.all("main")[0].text


def test_search__not_made__claims_no_count() -> None:
    assert "found" not in distribution_page(TEAM, query="foo")


def test_search__for_nothing__searches_nothing() -> None:
    assert "Search for" not in distribution_page(TEAM, query="  ", matches=["foo"])


# -- a project


def test_project__versions__newest_first_by_pep_440() -> None:
    page = a_page(
        "foo-1.9.tar.gz", "foo-1.10.tar.gz", "foo-2.0rc1.tar.gz", "foo-1!0.1.tar.gz", "foo-2004d_x.tar.gz", "other.zip"
    )
    expected = ["1!0.1", "2.0rc1 pre-release", "1.10", "1.9", "2004d_x", "Other files"]
    assert headings(project_page(TEAM, page)) == expected


def test_project__two_spellings_of_a_version__are_one() -> None:
    page = project_page(TEAM, a_page("foo-1.0-py3-none-any.whl", "foo-1.0.0.tar.gz"))
    assert headings(page) == ["1.0"]
    assert [e.text for e in read(page).all("a") if "foo-1" in e.text] == [
        "foo-1.0.0.tar.gz",
        "foo-1.0-py3-none-any.whl",
    ]


def test_project__file__shows_what_is_known_of_it() -> None:
    wheel = a_file(
        "foo-1.0-py3-none-any.whl",
        hashes={"sha256": "ab" * 32, "md5": "cd" * 16},
        requires_python=">=3.11,<4",
        size=1536,
        upload_time="2024-01-31T23:59:58.123456Z",
        provenance="https://index.example/p",
    )
    reader = read(project_page(TEAM, ProjectPage(as_project("foo"), (wheel,))))
    row = reader.all("tr")[1].text
    for said in ("wheel", "1.5 KiB", "2024-01-31 23:59 UTC", ">=3.11,<4", "ab" * 32, "cd" * 16):
        assert said in row
    links = reader.links(HERE + "project/foo/")
    assert links["foo-1.0-py3-none-any.whl"] == HERE + "files/public/f/foo-1.0-py3-none-any.whl"
    assert links["metadata"] == HERE + "files/public/f/foo-1.0-py3-none-any.whl.metadata"
    assert links["provenance"] == HERE + "integrity/foo/1.0/foo-1.0-py3-none-any.whl/provenance"
    assert links["This project on the simple index"] == HERE + "simple/foo/"
    assert links["pyproxy"] == SITE
    assert links["team"] == HERE


def test_project__file_of_which_little_is_known__links_to_nothing_that_is_not_there() -> None:
    reader = read(project_page(TEAM, a_page("foo-1.0.tar.gz")))
    assert not {"metadata", "provenance"} & reader.links(HERE).keys()
    assert not reader.all("details")


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (None, ""), (0, "0 bytes"), (1, "1 byte"), (1023, "1,023 bytes"), (1024, "1.0 KiB"),
        (20 << 20, "20.0 MiB"), (5 << 40, "5120.0 GiB"),
    ],
)  # fmt: skip
def test_project__size__is_readable(size: int | None, shown: str) -> None:
    page = ProjectPage(as_project("foo"), (a_file("foo-1.0.tar.gz", size=size),))
    assert read(project_page(TEAM, page)).all("td")[0].text == shown


def test_project__yanked__is_told_with_its_reason() -> None:
    files = (
        a_file("foo-1.0.tar.gz", yanked="broken <b>"),
        a_file("foo-2.0.tar.gz", yanked=True),
        a_file("foo-3.0.tar.gz"),
    )
    reader = read(project_page(TEAM, ProjectPage(as_project("foo"), files)))
    assert [e.text for e in reader.all("h2")] == ["3.0", "2.0 yanked", "1.0 yanked"]
    assert "yanked broken <b>" in reader.all("section")[2].text
    assert "yanked" not in reader.all("section")[0].text


def test_project__one_of_two_files_yanked__is_not_the_version() -> None:
    files = (a_file("foo-1.0.tar.gz", yanked=""), a_file("foo-1.0-py3-none-any.whl"))
    page = project_page(TEAM, ProjectPage(as_project("foo"), files))
    assert headings(page) == ["1.0"]
    assert page.count('class="tag">yanked') == 1


def test_project__status__is_told_with_its_reason() -> None:
    page = ProjectPage(as_project("foo"), status="quarantined", status_reason="malware & worse")
    notes = [e.text for e in read(project_page(TEAM, page)).all("p", role="note")]
    assert notes == ["This project is quarantined: malware & worse"]


@pytest.mark.parametrize("status", [None, "active"])
def test_project__ordinary_status__is_not_told(status: str | None) -> None:
    assert not read(project_page(TEAM, ProjectPage(as_project("foo"), status=status))).all("p", role="note")


def test_project__other_places__are_told_but_not_linked() -> None:
    page = ProjectPage(
        as_project("foo"), tracks=("https://t.example/foo/",), alternate_locations=("https://a.example/foo/",)
    )
    reader = read(project_page(TEAM, page))
    assert {"Tracks: https://t.example/foo/", "Alternate locations: https://a.example/foo/"} <= {
        e.text for e in reader.all("p")
    }
    assert not [e for e in reader.all("a") if ".example" in (e.attributes["href"] or "")]


def test_project__thousands_of_files__shows_the_newest_and_says_so() -> None:
    page = a_page(*(f"foo-{n // 3}-py{n % 3}-none-any.whl" for n in range(3000)))
    shown = project_page(TEAM, page)
    reader = read(shown)
    assert len(reader.all("th", scope="row")) == SHOWN_LIMIT
    assert reader.all("h2")[0].text == "999"
    assert "1000 versions" not in shown
    assert "1,000 versions, 3,000 files." in shown
    assert "2,500 files more" in shown


# -- what others wrote


def test_hostile_words__are_only_text() -> None:
    file = a_file(
        "foo-1.0.tar.gz", hashes={EVIL: EVIL}, requires_python=EVIL, yanked=EVIL, upload_time=EVIL, provenance=EVIL
    )
    page = ProjectPage(
        as_project("foo"), (file,), status=EVIL, status_reason=EVIL, tracks=(EVIL,), alternate_locations=(EVIL,)
    )
    view = DistributionView(
        name=EVIL, base_path="a", labels={EVIL: EVIL}, remotes=(EVIL,), public_url=f"https://h.example/{EVIL}"
    )
    for html in (
        root_page([replace(view, default=True)]),
        distribution_page(view, query=EVIL, matches=[EVIL], trouble=None),
        distribution_page(view, query=EVIL, trouble=EVIL),
        project_page(view, page),
    ):
        assert "<script>alert(1)</script>" in read(html).all("main")[0].text
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)


@given(st.text(max_size=20))
def test_property__any_link__stays_one_attribute_below_files(link: str) -> None:
    file = a_file("foo-1.0.tar.gz", link="public/" + link)
    reader = read(project_page(TEAM, ProjectPage(as_project("foo"), (file,))))
    href = next(e for e in reader.all("a") if e.text == file.filename).attributes["href"]
    assert href is not None
    assert href.startswith("../../files/public/")
    assert href.isascii()
    assert not re.search(r"[\s?#<>\"\\]", href)


def test_link__percent_encoded__stays_as_it_is() -> None:
    file = a_file("foo-1.0.tar.gz", link="public~files.example:8080/a%2Fb/f%20o+o-1%210.tar.gz")
    reader = read(project_page(TEAM, ProjectPage(as_project("foo"), (file,))))
    links = reader.links(HERE + "project/foo/")
    assert links["foo-1.0.tar.gz"] == HERE + "files/public~files.example:8080/a%2Fb/f%20o+o-1%210.tar.gz"


def test_long_words__are_shortened() -> None:
    page = project_page(TEAM, ProjectPage(as_project("foo"), status="archived", status_reason="x" * 100_000))
    assert len(page) < 10_000
    assert "x…" in page


def test_policy__forbids_all_but_the_inline_style_and_our_own_form() -> None:
    assert CONTENT_SECURITY_POLICY.split("; ")[:3] == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "form-action 'self'",
    ]
