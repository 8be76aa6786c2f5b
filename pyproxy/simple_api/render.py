"""Pages as this proxy serves them: JSON and HTML, their links relative, nothing of a remote's text taken for markup."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from pyproxy.model import File, Hashes, ProjectPage
from pyproxy.simple_api import fields
from pyproxy.simple_api.negotiate import Kind
from pyproxy.simple_api.versions import shown_versions

Provenance: TypeAlias = Callable[[File], str | None]

# 1.4 is PEP 792's, the newest whose keys are all kept; from 1.1 on (PEP 700) every file must tell its size.
_FULL = "1.4"
_LEAST = "1.0"


class _File(msgspec.Struct, rename="kebab", gc=False):
    """PEP 691: "hashes … MUST be present, even if empty"; the rest is left out where there is nothing to say.

    No `dist-info-metadata` beside `core-metadata`: pip 22.3 takes its hashes for a string and breaks (PEP 714).
    """

    filename: str
    url: str
    hashes: Hashes
    requires_python: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    upload_time: str | UnsetType = UNSET
    yanked: bool | str | UnsetType = UNSET
    core_metadata: bool | Hashes | UnsetType = UNSET
    gpg_sig: bool | UnsetType = UNSET
    provenance: str | UnsetType = UNSET


class _Meta(msgspec.Struct, rename="kebab"):
    api_version: str
    tracks: tuple[str, ...] | UnsetType = UNSET


class _Status(msgspec.Struct):
    status: str
    reason: str | UnsetType = UNSET


class _Page(msgspec.Struct, rename="kebab"):
    meta: _Meta
    name: str
    versions: list[str]
    files: list[_File]
    project_status: _Status | UnsetType = UNSET
    alternate_locations: tuple[str, ...] | UnsetType = UNSET


_encoder = msgspec.json.Encoder()


def render_page(page: ProjectPage, kind: Kind, *, files: str, provenance: Provenance | None) -> bytes:
    """The page in one serialisation; the same page gives the same bytes.

    `files` is the relative way from the page to where links begin, such as "../../files/". `provenance` gives a
    file's absolute provenance URL, None to leave it out; with None no page names any. Takes 1 µs a file as
    JSON, 4 as HTML.
    """
    # PEP 792: an index "MUST NOT offer any distributions of a quarantined project for download".
    shown = () if page.status == "quarantined" else page.files
    version = _FULL if all(file.size is not None for file in shown) else _LEAST
    if kind is Kind.JSON:
        return _json(page, shown, version, files, provenance)
    return _html(page, shown, version, files, provenance)


def _advertised(file: File) -> bool | Hashes:
    """PEP 658. Every wheel has metadata to give: what the remote does not serve is read out of the wheel."""
    return file.core_metadata or file.is_wheel


def _json(page: ProjectPage, shown: tuple[File, ...], version: str, files: str, provenance: Provenance | None) -> bytes:
    return _encoder.encode(
        _Page(
            meta=_Meta(version, page.tracks or UNSET),
            name=page.name,
            versions=shown_versions(page, shown),
            files=_json_files(shown, files, provenance),
            project_status=_Status(page.status, page.status_reason or UNSET) if page.status else UNSET,
            alternate_locations=page.alternate_locations or UNSET,
        )
    )


def _json_files(shown: tuple[File, ...], files: str, provenance: Provenance | None) -> list[_File]:
    # In one comprehension: a call for each file would be a fifth of the time.
    return [
        _File(
            file.filename,
            files + file.link,
            file.hashes,
            file.requires_python or UNSET,
            UNSET if file.size is None else file.size,
            file.upload_time or UNSET,
            file.yanked or UNSET,
            file.core_metadata or file.filename.endswith(".whl") or UNSET,  # as `_advertised`
            UNSET if file.gpg_sig is None else file.gpg_sig,
            UNSET if provenance is None or not file.provenance else provenance(file) or UNSET,
        )
        for file in shown
    ]


def _html(page: ProjectPage, shown: tuple[File, ...], version: str, files: str, provenance: Provenance | None) -> bytes:
    metas = [("repository-version", version)]
    if page.status:
        metas.append(("project-status", page.status))
        if page.status_reason:
            metas.append(("project-status-reason", page.status_reason))
    metas += [("tracks", url) for url in page.tracks]
    metas += [("alternate-locations", url) for url in page.alternate_locations]
    head = "".join(f'    <meta name="pypi:{name}" content="{attribute(content)}">\n' for name, content in metas)
    body = "".join([_anchor(file, files, provenance) for file in shown])
    title = f"Links for {page.name}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n  <head>\n    <meta charset="utf-8">\n'
        f"{head}    <title>{title}</title>\n  </head>\n  <body>\n    <h1>{title}</h1>\n{body}  </body>\n</html>\n"
    ).encode()


def _anchor(file: File, files: str, provenance: Provenance | None) -> str:
    """PEP 503: the text is the file's name. A `Filename` has no character that means anything in HTML."""
    hashes = fields.as_one(file.hashes)
    parts = [
        f'    <a href="{attribute(files + file.link)}#{hashes}"'
        if hashes
        else f'    <a href="{attribute(files + file.link)}"'
    ]
    if file.requires_python:
        parts.append(f'data-requires-python="{attribute(file.requires_python)}"')
    if file.yanked:
        parts.append(f'data-yanked="{attribute(file.yanked) if isinstance(file.yanked, str) else ""}"')
    metadata = _advertised(file)
    if metadata:
        value = (fields.as_one(metadata) if not isinstance(metadata, bool) else "") or "true"
        parts.append(f'data-dist-info-metadata="{value}" data-core-metadata="{value}"')
    if file.gpg_sig is not None:
        parts.append('data-gpg-sig="true"' if file.gpg_sig else 'data-gpg-sig="false"')
    if provenance is not None and file.provenance and (url := provenance(file)) is not None:
        parts.append(f'data-provenance="{attribute(url)}"')
    return f"{' '.join(parts)}>{file.filename}</a><br>\n"


def attribute(text: str) -> str:
    """Text as the value of an attribute in quotes. A bare carriage return would be read as a line feed."""
    return escape(text).replace("\r", "&#13;")
