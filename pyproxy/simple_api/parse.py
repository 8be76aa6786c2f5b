"""A remote's page, whatever its serialisation: which reader it gets, and what no reader may see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pyproxy.errors import PageUnreadable
from pyproxy.model import ProjectName, ProjectPage, printable
from pyproxy.simple_api.links import Linker
from pyproxy.simple_api.negotiate import Kind
from pyproxy.simple_api.parse_html import parse_html
from pyproxy.simple_api.parse_json import parse_json
from pyproxy.simple_api.references import BadLink, Base
from pyproxy.simple_api.shelf import Shelf

MAX_PAGE = 64 * 1024 * 1024
"""Bytes of a page that is read; the longest known are some 20 MB."""


@dataclass(frozen=True, slots=True)
class ParsedPage:
    """A page, and what was left out of it: how many entries, and why, one line for each of the first twenty."""

    page: ProjectPage
    dropped: tuple[str, ...] = ()
    lost: int = 0


def parse_page(body: bytes, content_type: str, url: str, project: ProjectName, *, linker: Linker) -> ParsedPage:
    """The project's page out of an answer's decoded body; `url` is where it came from in the end.

    Hostile or broken entries are left out one by one. Raises PageUnreadable, whose text is what is wrong with "it",
    where the whole cannot be used. Takes 3 µs a file: for large bodies, call it off the loop.
    """
    if len(body) > MAX_PAGE:
        raise PageUnreadable(f"it is larger than {MAX_PAGE} bytes")
    kind = kind_of(content_type)
    try:
        base = Base(url)
    except BadLink as exc:
        raise PageUnreadable(f"it came from {exc}") from exc
    if kind is Kind.JSON:
        shelf = Shelf(base, linker)
        page = parse_json(body, project, shelf)
    else:
        page, shelf = parse_html(body, content_type, project, base=base, linker=linker)
    return ParsedPage(page, shelf.dropped, shelf.lost)


@lru_cache(64)  # a remote says one or two; what raises is not kept
def kind_of(content_type: str) -> Kind:
    """The serialisation that a `Content-Type` names, whatever its parameters.

    Raises PageUnreadable for any but the three types of simple pages: what comes as something else, a login page of
    a proxy, an error in JSON, is no page, however it looks.
    """
    name = content_type.partition(";")[0].strip().lower()
    for kind in Kind:
        if kind.value == name:
            return kind
    raise PageUnreadable(
        f"it is of type {printable(name, 60)}, which no simple page is" if name else "it has no content type"
    )
