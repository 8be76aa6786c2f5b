"""The JSON API of projects and releases (`/pypi/{project}/json`) as values: read, put together, written. No I/O.

Which files there are is always the project page's to say; a remote's document only tells more of them.
"""

from __future__ import annotations

from pyproxy.json_api.answer import Place, render_answer
from pyproxy.json_api.info import info_from_metadata, info_from_page
from pyproxy.json_api.releases import Release, Releases, releases_of
from pyproxy.json_api.told import Object, Told, read_told, same_version

__all__ = [
    "Object",
    "Place",
    "Release",
    "Releases",
    "Told",
    "info_from_metadata",
    "info_from_page",
    "read_told",
    "releases_of",
    "render_answer",
    "same_version",
]
