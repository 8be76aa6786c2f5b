"""The list of all projects (PEP 503, 691), from a body that may be anything: the names in it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pyproxy.errors import PageUnreadable
from pyproxy.model import normalised
from pyproxy.simple_api.about import About, as_type, check_meta
from pyproxy.simple_api.listed import NOTHING
from pyproxy.simple_api.markup import tags
from pyproxy.simple_api.negotiate import Kind
from pyproxy.simple_api.parse import kind_of
from pyproxy.simple_api.parse_html import check_version, is_index_heading, must_be_whole, text_of
from pyproxy.simple_api.parse_json import BOM, LIST

_WANTED = frozenset({"html", "meta", "title", "h1", "a"})
_WITH_TEXT = frozenset({"title", "h1", "a"})


class _Project(msgspec.Struct, gc=False):
    name: str


class _ProjectList(About):
    projects: msgspec.Raw = NOTHING


_project_list = msgspec.json.Decoder(_ProjectList)
_project = msgspec.json.Decoder(_Project)


def project_names(body: bytes, content_type: str) -> Iterator[str]:
    """The names in a list of projects, as it spells them, whatever they are.

    Raises PageUnreadable, at the latest after the last name, where the body is no list, is cut short or of another
    repository version. Takes the body's size several times over in memory.
    """
    return _in_json(body) if kind_of(content_type) is Kind.JSON else _in_html(body, content_type)


def _in_json(body: bytes) -> Iterator[str]:
    try:
        page = _project_list.decode(body.removeprefix(BOM))
        check_meta(page)
        projects = LIST.decode(page.projects)
    except (ValueError, RecursionError) as exc:
        raise PageUnreadable("it is no JSON object with a list of projects") from exc
    for raw in projects:
        project = as_type(_project, raw)
        if project is not None:
            yield project.name


def _in_html(body: bytes, content_type: str) -> Iterator[str]:
    """PEP 503: "the text of the anchor tag MUST be the name of the project", and the link leads to its page."""
    page = text_of(body, content_type)
    metas: list[tuple[str, str]] = []
    is_index = has_root = headed = False
    links = plain = 0
    for tag in tags(page, _WANTED, _WITH_TEXT):
        match tag.name:
            case "a":
                href = tag.attributes.get("href", "").partition("#")[0].rstrip("/").rpartition("/")[2]
                links += 1
                plain += normalised(href) == normalised(tag.text)
                if href:
                    yield tag.text or href
            case "meta":
                name = tag.attributes.get("name", "").lower()
                if name.startswith("pypi:"):
                    is_index = True
                    metas.append((name.removeprefix("pypi:"), tag.attributes.get("content", "")))
            case "html":
                has_root = True
            case _:
                headed = True
                is_index = is_index or is_index_heading(tag.text)
    must_be_whole(page, has_root=has_root)
    check_version(metas)
    # The example of PEP 503 has neither title nor heading: nothing but anchors, each named as it leads.
    if not is_index and (headed or not 0 < links == plain):
        raise PageUnreadable("it is no list of projects: nothing in it says so")
