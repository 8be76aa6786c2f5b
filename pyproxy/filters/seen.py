"""A file of a page as rules look at it: its name read once, its upload time as a number."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from packaging.version import InvalidVersion, Version

from pyproxy.instants import as_uploaded
from pyproxy.model import File, PackageType, ProjectName, package_type
from pyproxy.simple_api import spelled_versions

LOCAL = "local/"
"""How the links of local files begin; no remote can be called so."""

# What distutils puts behind the version of a built archive that has an sdist's ending: "a-1.0.linux-x86_64.tar.gz".
_BUILT = re.compile(r"[.-](?:linux-\w+|macosx-[0-9.]+-\w+|win32|win-\w+|freebsd-[^/]+)\.(?:tar\.\w+|tgz|zip)\Z")
_PLATFORM = re.compile(r"[.-](?:linux|macosx|win32|win|freebsd)(?:-|\Z)")

_BUILT_FOR = frozenset[PackageType | None]({"bdist_dumb", "bdist_wininst", "bdist_msi", "bdist_dmg"})
"""Kinds whose names have the platform behind the version: "a-1.0.win32-py2.7.exe"."""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """`version` is None where the file's name has none that PEP 440 can read; `spelled` is what stands there.

    `uploaded` is in seconds since the epoch, None where nobody tells.
    """

    file: File
    kind: PackageType | None
    spelled: str | None
    version: Version | None
    uploaded: float | None
    is_local: bool


def seen(project: ProjectName, files: Sequence[File]) -> tuple[Seen, ...]:
    """The files as rules look at them. Each version is read once, however many files have it."""
    versions: dict[str | None, Version | None] = {None: None}
    found = []
    for file, spelling in zip(files, spelled_versions(files, project), strict=True):
        kind, spelled = kind_of(file.filename), spelling
        if spelling is not None and kind in _BUILT_FOR:
            spelled = built_version(spelling)
        if spelled not in versions:
            versions[spelled] = as_version(spelled)
        uploaded = as_uploaded(file.upload_time)
        found.append(Seen(file, kind, spelled, versions[spelled], uploaded, file.link.startswith(LOCAL)))
    return tuple(found)


def kind_of(filename: str) -> PackageType | None:
    """What kind of distribution it is by its name, built archives with an sdist's ending told apart."""
    if filename.endswith(".whl"):
        return "bdist_wheel"
    kind = package_type(filename)
    return "bdist_dumb" if kind == "sdist" and _BUILT.search(filename) else kind


def built_version(spelling: str) -> str:
    """The version without the platform that stands behind it in such a name."""
    return _PLATFORM.split(spelling, maxsplit=1)[0]


def as_version(spelled: str | None) -> Version | None:
    """The version that stands in a file's name; None where it is none that PEP 440 can read."""
    if spelled is None:
        return None
    try:
        # A wheel's name has "_" where its version has "-" (PEP 427); to PEP 440 they are the same.
        return Version(spelled.replace("_", "-"))
    except InvalidVersion:
        return None
