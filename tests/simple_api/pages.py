"""Pages for the tests of `simple_api`: a remote's address, small good bodies, and readers of what is rendered."""

from __future__ import annotations

import html.parser
from typing import Any

import msgspec

from pyproxy.model import File, Filename, ProjectName, ProjectPage, as_filename, as_project
from pyproxy.simple_api import Kind, ParsedPage, linker, parse_page

JSON = Kind.JSON.value
HTML = Kind.HTML.value
TEXT = "text/html; charset=utf-8"

REMOTE = "https://index.example/simple/"
PROJECT = as_project("proj")
PAGE = f"{REMOTE}proj/"
DIGEST = "0123456789abcdef" * 4
OTHER = "f" * 64
NAME = "proj-1.0-py3-none-any.whl"
LINK = linker("up", REMOTE, None)


def wheel(version: str = "1.0") -> Filename:
    return as_filename(f"proj-{version}-py3-none-any.whl")


def file(name: str = NAME, **fields: Any) -> File:  # Any: the fields of a File are of many types
    return File(as_filename(name), f"https://index.example/f/{name}", f"up/f/{name}", **fields)


def page(*files: File, name: ProjectName = PROJECT, **fields: Any) -> ProjectPage:  # Any: as for file
    return ProjectPage(name, files, **fields)


def entry(name: str = NAME, **fields: Any) -> dict[str, Any]:  # Any: JSON of all kinds, wrong ones too
    """One of a page's `files`; a field's underscores stand for dashes."""
    return {
        "filename": name,
        "url": f"../../f/{name}",
        "hashes": {"sha256": DIGEST},
        **{key.replace("_", "-"): value for key, value in fields.items()},
    }


def parse_json(*entries: object, **top: object) -> ParsedPage:
    """The page of these entries, read."""
    keys = {key.replace("_", "-"): value for key, value in top.items()}
    body = msgspec.json.encode({"meta": {"api-version": "1.1"}, "name": "proj", "files": entries, **keys})
    return parse(body, JSON)


def parse_html(body: str, head: str = "", *, content_type: str = TEXT, url: str = PAGE) -> ParsedPage:
    """The page of this body, read."""
    text = f"<!DOCTYPE html><html><head>{head}<title>Links for proj</title></head><body>{body}</body></html>"
    return parse(text.encode(), content_type, url=url)


def parse(body: bytes, content_type: str, *, url: str = PAGE, project: ProjectName = PROJECT) -> ParsedPage:
    return parse_page(body, content_type, url, project, linker=LINK)


def only(parsed: ParsedPage) -> File:
    """The one file of a page that lost none."""
    assert parsed.dropped == ()
    (found,) = parsed.page.files
    return found


def names(parsed: ParsedPage) -> list[str]:
    return [found.filename for found in parsed.page.files]


class Reader(html.parser.HTMLParser):
    """Another parser's view of a page: its anchors, its metas, and every tag that is in it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.anchors: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self.metas: list[tuple[str, str | None]] = []
        self._inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self._inside = True
            self.anchors.append(dict(attrs))
            self.texts.append("")
        if tag == "meta":
            found = dict(attrs)
            self.metas.append((found.get("name") or "", found.get("content")))

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._inside = False
