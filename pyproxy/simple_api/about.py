"""What a page as JSON says beside its files (PEP 629, 700, 708, 792): a wrong field costs no more than itself."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec.json import Decoder

from pyproxy.errors import PageUnreadable
from pyproxy.model import File, ProjectName, ProjectPage
from pyproxy.simple_api import fields
from pyproxy.simple_api.listed import NOTHING

T = TypeVar("T")

_MAX_FIELD = 8 * 1024 * 1024


class About(msgspec.Struct, rename="kebab"):
    """What stands beside the files: each by itself, so that a wrong field costs no more than itself."""

    name: msgspec.Raw = NOTHING
    meta: msgspec.Raw = NOTHING
    versions: msgspec.Raw = NOTHING
    project_status: msgspec.Raw = NOTHING
    project_status_reason: msgspec.Raw = NOTHING
    tracks: msgspec.Raw = NOTHING
    alternate_locations: msgspec.Raw = NOTHING


class _UsualMeta(msgspec.Struct, rename="kebab"):
    """`meta` of a `UsualAbout`. Where only some servers put things, there is nothing."""

    api_version: str | None = None
    tracks: list[str] | str | None = None
    versions: None = None
    project_status: None = None
    project_status_reason: None = None
    alternate_locations: None = None


class UsualAbout(msgspec.Struct, rename="kebab", kw_only=True):
    """The same as nearly every index sends it: each thing where it should be, and of the type that it should be.

    Read in one go: what stands beside the files, field by field, took as long as twelve files.
    """

    meta: _UsualMeta
    name: str | None = None
    versions: list[str] | None = None
    project_status: msgspec.Raw = NOTHING
    project_status_reason: None = None
    tracks: None = None
    alternate_locations: list[str] | str | None = None


_anything = Decoder(Any)
_object = Decoder(dict[str, msgspec.Raw])
_text = Decoder(str)
_texts = Decoder(list[str])


def check_meta(page: About) -> None:
    """Raises PageUnreadable for a page of a repository version other than 1 (PEP 629)."""
    version = as_type(_anything, members(page.meta).get("api-version", NOTHING))
    check_version(None if version is None else str(version))


def check_version(version: str | None) -> None:
    """Raises PageUnreadable."""
    try:
        fields.checked_version(version)
    except fields.BadField as exc:
        raise PageUnreadable(str(exc)) from exc


def with_usual(page: UsualAbout, project: ProjectName, files: tuple[File, ...]) -> ProjectPage:
    """The page of these files, with what stands beside them."""
    status, reason = _status(page.project_status) if page.project_status is not NOTHING else (None, None)
    status = fields.marker(status) if status else None
    return ProjectPage(
        project,
        files,
        versions=fields.versions(page.versions) if page.versions else None,
        status=status,
        status_reason=fields.text(reason) or None if status and reason else None,
        tracks=fields.urls(_listed(page.meta.tracks)),
        alternate_locations=fields.urls(_listed(page.alternate_locations)),
    )


def _listed(urls: list[str] | str | None) -> list[str]:
    return [urls] if isinstance(urls, str) else urls or []


def with_meta(page: About, project: ProjectName, files: tuple[File, ...]) -> ProjectPage:
    """The same, field by field; each key also where other servers put it."""
    meta = members(page.meta)
    status, reason = _status(page.project_status)
    if status is None:
        status, reason = _status(meta.get("project-status", NOTHING))
    if reason is None:
        reason = as_type(_text, page.project_status_reason) or as_type(
            _text, meta.get("project-status-reason", NOTHING)
        )
    status = fields.marker(status)
    return ProjectPage(
        project,
        files,
        versions=fields.versions(as_type(_texts, page.versions) or as_type(_texts, meta.get("versions", NOTHING))),
        status=status,
        status_reason=fields.text(reason) or None if status and reason else None,
        tracks=fields.urls(_urls(meta.get("tracks", NOTHING)) or _urls(page.tracks)),
        alternate_locations=fields.urls(
            _urls(page.alternate_locations) or _urls(meta.get("alternate-locations", NOTHING))
        ),
    )


def _status(raw: msgspec.Raw) -> tuple[str | None, str | None]:
    """PEP 792: an object of status and reason; some say the status alone."""
    if found := members(raw):
        return as_type(_text, found.get("status", NOTHING)), as_type(_text, found.get("reason", NOTHING))
    return as_type(_text, raw), None


def _urls(raw: msgspec.Raw) -> list[str]:
    alone = as_type(_text, raw)
    return [alone] if alone else as_type(_texts, raw) or []


def members(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Those of an object; none where it is none."""
    return as_type(_object, raw) or {}


def as_type(decoder: Decoder[T], raw: msgspec.Raw) -> T | None:
    """The value as what it should be; None where it is absent, null, of another type, or larger than it may be."""
    if raw is NOTHING or len(memoryview(raw)) > _MAX_FIELD:
        return None
    try:
        return decoder.decode(raw)
    except (ValueError, RecursionError):
        return None
