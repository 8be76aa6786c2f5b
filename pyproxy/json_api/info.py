"""The `info` of a release where no remote tells it: out of its core metadata, or what little its page says.

The keys are those that the public index answers with; null where nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from packaging.metadata import RawMetadata, parse_email

from pyproxy.json_api.releases import Release
from pyproxy.json_api.told import Object

_EMPTY: Final[Mapping[str, Any]] = {  # Any: JSON values
    "author": None,
    "author_email": None,
    "bugtrack_url": None,
    "classifiers": [],
    "description": None,
    "description_content_type": None,
    "docs_url": None,
    "download_url": None,
    "downloads": {"last_day": -1, "last_month": -1, "last_week": -1},
    "dynamic": None,
    "home_page": None,
    "keywords": None,
    "license": None,
    "license_expression": None,
    "license_files": None,
    "maintainer": None,
    "maintainer_email": None,
    "name": None,
    "package_url": None,
    "platform": None,
    "project_url": None,
    "project_urls": None,
    "provides_extra": None,
    "release_url": None,
    "requires_dist": None,
    "requires_python": None,
    "summary": None,
    "version": None,
    "yanked": False,
    "yanked_reason": None,
}

_SAME: Final = (
    "author",
    "author_email",
    "classifiers",
    "description",
    "description_content_type",
    "download_url",
    "dynamic",
    "home_page",
    "license",
    "license_expression",
    "license_files",
    "maintainer",
    "maintainer_email",
    "name",
    "project_urls",
    "provides_extra",
    "requires_dist",
    "requires_python",
    "summary",
)
"""Fields that `packaging` names as the API does."""


def info_from_metadata(raw: bytes, release: Release) -> Object:
    """What METADATA or PKG-INFO says. What cannot be read in it is left out, and never an error."""
    metadata, _ = parse_email(raw)
    info = info_from_page(str(metadata.get("name") or ""), release)
    for key in _SAME:
        if metadata.get(key):
            info[key] = metadata[key]
    info["keywords"] = ",".join(metadata.get("keywords", ())) or None
    info["platform"] = ",".join(metadata.get("platforms", ())) or None
    _from_older_fields(metadata, info)
    return info


def info_from_page(name: str, release: Release) -> Object:
    """What the page alone says of a release."""
    said = (file.requires_python for file in release.files if file.requires_python)
    return {**_EMPTY, "name": name, "version": release.version, "requires_python": next(said, None)}


def _from_older_fields(metadata: RawMetadata, info: Object) -> None:
    """Requires (PEP 314) is what old releases have in place of Requires-Dist."""
    if info["requires_dist"] is None and metadata.get("requires"):
        info["requires_dist"] = list(metadata["requires"])
