"""Pages as HTML (PEP 503, 592, 629, 658, 708, 714, 740, 792), and telling them from other people's pages."""

from __future__ import annotations

import re
from urllib.parse import unquote

from pyproxy.errors import PageUnreadable
from pyproxy.model import File, Hashes, ProjectName, ProjectPage, version_of
from pyproxy.simple_api import fields
from pyproxy.simple_api.links import Linker
from pyproxy.simple_api.markup import Tag, decoded, tags
from pyproxy.simple_api.references import BadLink, Base
from pyproxy.simple_api.shelf import MAX_FILES, Shelf

_WANTED = frozenset({"html", "base", "meta", "title", "h1", "a"})
_WITH_TEXT = frozenset({"title", "h1"})
_SIGN = re.compile(r"\blinks for\b|\bindex\b", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]{1,40})", re.IGNORECASE)
_TAIL = 64 * 1024
_MAX_METAS = 1000
_MAX_ANCHORS = 2 * MAX_FILES


class _Reading:
    """What has been found of a page so far. One for each page, written by `parse_html` alone."""

    def __init__(self, project: ProjectName, base: Base, linker: Linker) -> None:
        self.project = project
        self.shelf = Shelf(base, linker)
        self.metas: list[tuple[str, str]] = []
        self.is_index = False
        self.has_root = False
        self._has_base = False
        self._anchors = 0

    def take(self, tag: Tag) -> None:
        match tag.name:
            case "a":
                self._anchor(tag.attributes)
            case "meta":
                self._meta(tag.attributes)
            case "base":
                self._base(tag.attributes)
            case "html":
                self.has_root = True
            case _:
                self.is_index = self.is_index or is_index_heading(tag.text)

    def _meta(self, attributes: dict[str, str]) -> None:
        name = attributes.get("name", "").strip().lower()
        if name.startswith("pypi:") and len(self.metas) < _MAX_METAS:
            self.is_index = True
            self.metas.append((name.removeprefix("pypi:"), attributes.get("content", "")))

    def _base(self, attributes: dict[str, str]) -> None:
        """HTML: the first `<base>` with a href counts, and is itself relative to the page."""
        href = attributes.get("href")
        if href is None or self._has_base:
            return
        self._has_base = True
        try:
            self.shelf.base = Base(self.shelf.base.resolve(href).url)
        except BadLink:
            return  # "if it is no URL, the fallback base URL is used": the page's own

    def _anchor(self, attributes: dict[str, str]) -> None:
        href = attributes.get("href")
        if not href or href[0] in "#?" or href.endswith("/"):
            return  # a way to another page, as lists of folders have them: no file was meant
        self._anchors += 1
        if self._anchors > _MAX_ANCHORS:
            raise PageUnreadable("it has more links than any page may")
        try:
            target = self.shelf.base.resolve(href)
            hashes = hashes_in(target.fragment) if target.fragment else {}
            requires = attributes.get("data-requires-python")
            requires_python = fields.requires_python(requires) if requires else None
        except (BadLink, fields.BadField) as exc:
            self.shelf.drop(href, str(exc))
            return
        if not self.is_index and version_of(target.name, self.project) is not None:
            self.is_index = True
        placed = self.shelf.place(target.name, target, hashes)
        if placed is None:
            return
        name, link = placed
        yanked = attributes.get("data-yanked")
        gpg_sig = attributes.get("data-gpg-sig")
        provenance = attributes.get("data-provenance")
        self.shelf.put(
            File(
                name,
                target.url,
                link,
                hashes,
                requires_python,
                # PEP 592: "the data-yanked attribute may have no value, or may have an arbitrary string".
                False if yanked is None else fields.yanked(yanked or True),
                _core_metadata(attributes),
                None if gpg_sig is None else gpg_sig.strip().lower() == "true",
                provenance=self.shelf.provenance(provenance) if provenance else None,
            )
        )


def parse_html(
    body: bytes, content_type: str, project: ProjectName, *, base: Base, linker: Linker
) -> tuple[ProjectPage, Shelf]:
    """The project's page and the shelf that its files stand on.

    Raises PageUnreadable where the page is cut short, is of another repository version, passes a bound, or shows
    nothing of an index: networks answer for others with 200 and a page to log in.
    """
    page = text_of(body, content_type)
    reading = _Reading(project, base, linker)
    for tag in tags(page, _WANTED, _WITH_TEXT):
        reading.take(tag)
    must_be_whole(page, has_root=reading.has_root)
    check_version(reading.metas)
    if not reading.is_index:
        raise PageUnreadable("it is no index page: no file of the project in it, and nothing that says so")
    status = fields.marker(_first(reading.metas, "project-status"))
    reason = _first(reading.metas, "project-status-reason")
    return ProjectPage(
        project,
        reading.shelf.files,
        status=status,
        status_reason=fields.text(reason) or None if status and reason else None,
        tracks=fields.urls(_all(reading.metas, "tracks")),
        alternate_locations=fields.urls(_all(reading.metas, "alternate-locations")),
    ), reading.shelf


def text_of(body: bytes, content_type: str) -> str:
    """The page's text, by the charset that its `Content-Type` names or it names itself."""
    charset = _CHARSET.search(content_type)
    return decoded(body, charset[1] if charset else None)


def must_be_whole(page: str, *, has_root: bool) -> None:
    """Raises PageUnreadable where the page opens `<html>` and does not close it.

    A body that ends with the connection looks complete however short it was cut.
    """
    if has_root and "</html" not in page[-_TAIL:].lower():
        raise PageUnreadable("it is cut short: </html> is missing")


def check_version(metas: list[tuple[str, str]]) -> None:
    """Raises PageUnreadable for a page of a repository version other than 1 (PEP 629)."""
    try:
        fields.checked_version(_first(metas, "repository-version"))
    except fields.BadField as exc:
        raise PageUnreadable(str(exc)) from exc


def is_index_heading(text: str) -> bool:
    """Whether a title or heading is one that servers of packages give their pages."""
    return _SIGN.search(text) is not None


def hashes_in(fragment: str) -> Hashes:
    """PEP 503: "#<hashname>=<hashvalue>"; other things may stand beside it, as "egg=…" did.

    Raises BadField for a digest that is none.
    """
    if fragment.startswith("sha256=") and fields.is_sha256(fragment[7:]):
        return {"sha256": fragment[7:]}
    found: dict[str, str | None] = {}
    for part in fragment.split("&", 10):
        name, _, digest = part.partition("=")
        if name.lower() in fields.IN_LINKS:
            found.setdefault(name.lower(), unquote(digest))
    return fields.hashes(found)


def _core_metadata(attributes: dict[str, str]) -> bool | Hashes:
    """PEP 714: "consumers MUST read data-core-metadata where both are present". Its value: "true", or a digest."""
    value = attributes.get("data-core-metadata")
    if value is None:
        value = attributes.get("data-dist-info-metadata")
    if not value or value.strip().lower() == "false":
        return False
    if value.startswith("sha256=") and fields.is_sha256(value[7:]):
        return {"sha256": value[7:]}
    name, equals, digest = value.strip().partition("=")
    return fields.core_metadata({name: digest} if equals else True)


def _first(metas: list[tuple[str, str]], name: str) -> str | None:
    return next((content for key, content in metas if key == name), None)


def _all(metas: list[tuple[str, str]], name: str) -> list[str]:
    return [content.strip() for key, content in metas if key == name]
