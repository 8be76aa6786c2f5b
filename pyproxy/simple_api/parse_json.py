"""Pages as JSON (PEP 691, 700, 708, 714, 740, 792), from a body that may be anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import msgspec

from pyproxy.errors import PageUnreadable
from pyproxy.model import File, ProjectName, ProjectPage, normalised, printable
from pyproxy.simple_api import fields
from pyproxy.simple_api.references import BadLink
from pyproxy.simple_api.shelf import MAX_FILES, Shelf

T = TypeVar("T")

# Above this the files are decoded one by one, though that takes twice as long: a decoder keeps the interpreter's lock
# until it is done, 1 ms for a MB, and what hostile bodies become is 20 times as large.
_AT_ONCE = 4 * 1024 * 1024

# A page of 64 MiB has some 1.9 million commas, one in 35 bytes. "[1,1,1…" has one in two, and takes 2 GB when decoded.
_MAX_COMMAS = 2_500_000
_MAX_FILE = 64 * 1024
_MAX_FIELD = 8 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_NOTHING = msgspec.Raw(b"null")


_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _File(msgspec.Struct, rename="kebab", gc=False):
    """A file as it should be. Null is taken for absent in any field."""

    filename: str
    url: str
    hashes: dict[str, str | None] | None = None
    requires_python: str | None = None
    yanked: bool | str | None = None
    core_metadata: bool | dict[str, str | None] | None = None
    dist_info_metadata: msgspec.Raw = _NOTHING
    data_dist_info_metadata: msgspec.Raw = _NOTHING
    gpg_sig: bool | None = None
    size: _Size | None = None
    upload_time: str | None = None
    provenance: str | None = None


class _About(msgspec.Struct, rename="kebab"):
    """What stands beside the files: each by itself, so that a wrong field costs no more than itself."""

    name: msgspec.Raw = _NOTHING
    meta: msgspec.Raw = _NOTHING
    versions: msgspec.Raw = _NOTHING
    project_status: msgspec.Raw = _NOTHING
    project_status_reason: msgspec.Raw = _NOTHING
    tracks: msgspec.Raw = _NOTHING
    alternate_locations: msgspec.Raw = _NOTHING


class _Page(_About, rename="kebab", kw_only=True):
    files: list[_File]


class _LoosePage(_About, rename="kebab", kw_only=True):
    files: msgspec.Raw = _NOTHING


_page = msgspec.json.Decoder(_Page)
_loose_page = msgspec.json.Decoder(_LoosePage)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_file = msgspec.json.Decoder(_File)
_text = msgspec.json.Decoder(str)
_integer = msgspec.json.Decoder(_Size)
_flag = msgspec.json.Decoder(bool)
_texts = msgspec.json.Decoder(list[str])
_digests = msgspec.json.Decoder(dict[str, str | None] | None)
_metadata = msgspec.json.Decoder(bool | dict[str, str | None] | None)
_anything = msgspec.json.Decoder(Any)


def parse_json(body: bytes, project: ProjectName, shelf: Shelf) -> ProjectPage:
    """The project's page, its files put on the shelf.

    A file that is wrong is left out alone, and of a wrong optional field only the field. Raises PageUnreadable
    where the body is no JSON object with a list of files, is of another repository version or another project, or
    passes a bound.
    """
    if body.startswith(_BOM):  # RFC 8259 §8.1 allows to ignore it
        body = body[len(_BOM) :]
    if body.count(b",") > _MAX_COMMAS:
        raise PageUnreadable("it holds more than any page may")
    page, files = _read(body)
    name = _as(_text, page.name)
    if name and normalised(name) != project:
        raise PageUnreadable(f"it is the page of another project, {printable(name)}")
    for file in files:
        if isinstance(file, _File):
            _put(file, shelf)
        else:
            _put_loose(file, shelf)
    return _with_meta(page, project, shelf)


def _read(body: bytes) -> tuple[_About, list[_File] | list[msgspec.Raw]]:
    """The page and its files: as they should be, or raw where some are not or where they are many."""
    if len(body) <= _AT_ONCE:
        try:
            page = _page.decode(body)
            _check_version(page)
            return page, page.files
        except (ValueError, RecursionError):
            pass  # read again below, file by file: one wrong file must not cost the others
    try:
        loose = _loose_page.decode(body)
        _check_version(loose)
        files = _list.decode(loose.files)
    except msgspec.ValidationError as exc:
        raise PageUnreadable("it is no JSON object with a list of files") from exc
    except msgspec.DecodeError as exc:
        raise PageUnreadable("it is no valid JSON") from exc
    except (UnicodeDecodeError, RecursionError) as exc:
        raise PageUnreadable("it is no JSON that any index sends") from exc
    if len(files) > MAX_FILES:
        raise PageUnreadable(f"it has more than {MAX_FILES} files")
    return loose, files


def _check_version(page: _About) -> None:
    version = _as(_anything, _members(page.meta).get("api-version", _NOTHING))
    try:
        fields.checked_version(None if version is None else str(version))
    except fields.BadField as exc:
        raise PageUnreadable(str(exc)) from exc


def _put(file: _File, shelf: Shelf) -> None:
    try:
        target = shelf.base.resolve(file.url)
        if target.name != file.filename:
            # The last part of a link is the file's name: clients that read the URL alone would see another file.
            raise BadLink("its URL ends in another name")
        hashes = fields.hashes(file.hashes) if file.hashes else {}
        requires_python = fields.requires_python(file.requires_python) if file.requires_python else None
    except (BadLink, fields.BadField) as exc:
        shelf.drop(file.filename, str(exc))
        return
    placed = shelf.place(file.filename, target, hashes)
    if placed is None:
        return
    name, link = placed
    metadata = file.core_metadata
    if metadata is None:
        metadata = _older_metadata(file)
    shelf.put(
        File(
            name,
            target.url,
            link,
            hashes,
            requires_python,
            fields.yanked(file.yanked) if file.yanked else False,
            fields.core_metadata(metadata) if metadata else metadata == {},
            file.gpg_sig,
            file.size,
            fields.instant(file.upload_time),
            shelf.provenance(file.provenance) if file.provenance else None,
        )
    )


def _older_metadata(file: _File) -> bool | dict[str, str | None] | None:
    """PEP 714: "consumers MUST read core-metadata where both are present". The third name is one that is sent."""
    for raw in (file.dist_info_metadata, file.data_dist_info_metadata):
        found = _as(_metadata, raw)
        if found is not None:
            return found
    return None


def _put_loose(raw: msgspec.Raw, shelf: Shelf) -> None:
    """One file by itself: field by field where it is not as it should be."""
    if len(memoryview(raw)) > _MAX_FILE:
        shelf.drop("a file", "larger than any file's entry may be")
        return
    try:
        file = _file.decode(raw)
    except (ValueError, RecursionError):
        file = _mended(raw, shelf)  # type: ignore[assignment]  # None is asked for below
    if file is not None:
        _put(file, shelf)


def _mended(raw: msgspec.Raw, shelf: Shelf) -> _File | None:
    """The file without its wrong fields; None, and dropped, where one is wrong that it cannot be without."""
    members = _members(raw)
    filename = _as(_text, members.get("filename", _NOTHING))
    url = _as(_text, members.get("url", _NOTHING))
    if filename is None or url is None:
        shelf.drop(filename or "a file", "without a name or without a URL")
        return None
    try:
        hashes = _digests.decode(members.get("hashes", _NOTHING))
        yanked = _anything.decode(members.get("yanked", _NOTHING))
    except (ValueError, RecursionError):
        # Without them it would be offered unchecked, or as if it were not yanked (PEP 592 forbids mirrors that).
        shelf.drop(filename, "its hashes or its yanked cannot be read")
        return None
    metadata = next(filter(None, (_as(_metadata, members.get(key, _NOTHING)) for key in _METADATA_KEYS)), None)
    return _File(
        filename=filename,
        url=url,
        hashes=hashes,
        requires_python=_as(_text, members.get("requires-python", _NOTHING)),
        yanked=yanked if isinstance(yanked, str) else bool(yanked),
        core_metadata=metadata,
        gpg_sig=_as(_flag, members.get("gpg-sig", _NOTHING)),
        size=_as(_integer, members.get("size", _NOTHING)),
        upload_time=_as(_text, members.get("upload-time", _NOTHING)),
        provenance=_as(_text, members.get("provenance", _NOTHING)),
    )


_METADATA_KEYS = ("core-metadata", "dist-info-metadata", "data-dist-info-metadata")


def _with_meta(page: _About, project: ProjectName, shelf: Shelf) -> ProjectPage:
    """What stands beside the files; each key also where other servers put it."""
    meta = _members(page.meta)
    status, reason = _status(page.project_status)
    if status is None:
        status, reason = _status(meta.get("project-status", _NOTHING))
    if reason is None:
        reason = _as(_text, page.project_status_reason) or _as(_text, meta.get("project-status-reason", _NOTHING))
    status = fields.marker(status)
    return ProjectPage(
        project,
        shelf.files,
        versions=fields.versions(_as(_texts, page.versions) or _as(_texts, meta.get("versions", _NOTHING))),
        status=status,
        status_reason=fields.text(reason) or None if status and reason else None,
        tracks=fields.urls(_urls(meta.get("tracks", _NOTHING)) or _urls(page.tracks)),
        alternate_locations=fields.urls(
            _urls(page.alternate_locations) or _urls(meta.get("alternate-locations", _NOTHING))
        ),
    )


def _status(raw: msgspec.Raw) -> tuple[str | None, str | None]:
    """PEP 792: an object of status and reason; some say the status alone."""
    members = _members(raw)
    if members:
        return _as(_text, members.get("status", _NOTHING)), _as(_text, members.get("reason", _NOTHING))
    return _as(_text, raw), None


def _urls(raw: msgspec.Raw) -> list[str]:
    alone = _as(_text, raw)
    return [alone] if alone else _as(_texts, raw) or []


def _members(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    return _as(_object, raw) or {}


def _as(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    """The value as what it should be; None where it is absent, null, of another type, or larger than it may be."""
    if raw is _NOTHING or len(memoryview(raw)) > _MAX_FIELD:
        return None
    try:
        return decoder.decode(raw)
    except (ValueError, RecursionError):
        return None


class _Project(msgspec.Struct, gc=False):
    name: str


class _ProjectList(_About):
    projects: msgspec.Raw = _NOTHING


_project_list = msgspec.json.Decoder(_ProjectList)
_project = msgspec.json.Decoder(_Project)


def project_names(body: bytes) -> Iterator[str]:
    """The names in a list of projects (PEP 691), as it spells them; entries without a name are left out.

    Raises PageUnreadable where the body is no such list or of another repository version. It takes the list's size
    ten times over in memory, so it is run in a process of its own.
    """
    try:
        page = _project_list.decode(body.removeprefix(_BOM))
        _check_version(page)
        projects = _list.decode(page.projects)
    except (ValueError, RecursionError) as exc:
        raise PageUnreadable("it is no JSON object with a list of projects") from exc
    for raw in projects:
        project = _as(_project, raw)
        if project is not None:
            yield project.name
