"""An answer of the JSON API as bytes: the page's files, what is told of them, and one release described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import msgspec

from pyproxy.json_api.releases import Release
from pyproxy.json_api.told import Object, Told
from pyproxy.model import File, Filename, Hashes, ProjectName, package_type

_DIGESTS: Final = ("md5", "sha256", "blake2b_256")
_WHEEL_PARTS: Final = (5, 6)
"""Parts of a wheel's name: project, version, perhaps a build, and the tags (PEP 427)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the distribution is served: its base path below `root`, the public URL or nothing."""

    root: str
    base_path: str
    project: ProjectName

    @property
    def base(self) -> str:
        return f"{self.root}/pypi/{quote(self.base_path)}"

    @property
    def page(self) -> str:
        """The project's page for people."""
        return f"{self.base}/project/{self.project}/"


def render_answer(
    place: Place,
    release: Release,
    info: Object,
    *,
    told: Told,
    digests: Mapping[Filename, Hashes],
    releases: Sequence[Release] | None,
) -> bytes:
    """The document for a release; with `releases`, the one for the whole project."""
    described = told.is_of(release.version)
    document: Object = {
        "info": {
            **info,
            "package_url": place.page,
            "project_url": place.page,
            "release_url": place.page,
            "yanked": release.is_yanked,
            "yanked_reason": release.yanked_reason,
        },
        "last_serial": told.last_serial,
    }
    if releases is not None:
        document["releases"] = {one.version: _entries(place, one, told, digests) for one in releases}
    document["urls"] = _entries(place, release, told, digests)
    document["vulnerabilities"] = told.vulnerabilities if described else []
    if told.ownership is not None:
        document["ownership"] = told.ownership
    return msgspec.json.encode(document)


def _entries(place: Place, release: Release, told: Told, digests: Mapping[Filename, Hashes]) -> list[Object]:
    return [_entry(place, file, _of_these_bytes(file, told), digests.get(file.filename, {})) for file in release.files]


def _of_these_bytes(file: File, told: Told) -> Object:
    """What the document tells of the file, unless it speaks of other bytes: a local file may have a remote's name."""
    entry = told.files.get(file.filename, {})
    said = entry.get("digests")
    if not isinstance(said, dict):
        return entry if not file.link.startswith("local/") else {}
    shared = [name for name in _DIGESTS if name in file.hashes and name in said]
    return entry if shared and all(said[name] == file.hashes[name] for name in shared) else {}


def _entry(place: Place, file: File, told: Object, own: Hashes) -> Object:
    said = told.get("digests")
    known = {**(said if isinstance(said, dict) else {}), **own, **file.hashes}
    digests = {name: known[name] for name in _DIGESTS if isinstance(known.get(name), str)}
    uploaded = file.upload_time or _text(told, "upload_time_iso_8601")
    size = file.size if file.size is not None else told.get("size")
    return {
        "comment_text": _text(told, "comment_text") or "",
        "core-metadata": file.core_metadata,
        "digests": digests,
        "downloads": -1,
        "filename": file.filename,
        "has_sig": bool(file.gpg_sig),
        "md5_digest": digests.get("md5"),
        "packagetype": _text(told, "packagetype") or package_type(file.filename) or "sdist",
        "python_version": _text(told, "python_version") or _python_version(file.filename),
        "requires_python": file.requires_python,
        "size": size,
        "upload_time": uploaded[:19] if uploaded else None,
        "upload_time_iso_8601": uploaded,
        "url": f"{place.base}/files/{file.link}",
        "yanked": file.yanked is not False,
        "yanked_reason": file.yanked if isinstance(file.yanked, str) and file.yanked else None,
    }


def _python_version(filename: str) -> str:
    """The Python tag of a wheel, "py3.9" of an egg as "3.9", "source" for what has none."""
    stem, _, ending = filename.rpartition(".")
    parts = stem.split("-")
    if ending == "whl" and len(parts) in _WHEEL_PARTS:
        return parts[-3]
    tags = [part[2:] for part in parts if part.startswith("py") and part[2:3].isdigit()]
    if ending in {"egg", "exe", "msi"}:
        return tags[-1] if tags else "any"
    return "source"


def _text(entry: Object, key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) else None
