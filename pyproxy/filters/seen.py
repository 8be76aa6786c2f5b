"""The files of a page as rules look at them: their names read once, their upload times as numbers, a column for each.

No column raises, whatever a file's name or upload time says: what cannot be read is None.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from packaging.version import InvalidVersion, Version

from pyproxy.instants import as_moments
from pyproxy.model import File, PackageType, ProjectName, package_type
from pyproxy.simple_api import split_names

LOCAL = "local/"
"""How the links of local files begin; no remote can be called so."""

# What distutils puts behind the version of a built archive that has an sdist's ending: "a-1.0.linux-x86_64.tar.gz".
_BUILT = re.compile(r"[.-](?:linux-\w+|macosx-[0-9.]+-\w+|win32|win-\w+|freebsd-[^/]+)(?:\.(?:tar\.\w+|tgz|zip))?\Z")
_PLATFORM = re.compile(r"[.-](?:linux|macosx|win32|win|freebsd)(?:-|\Z)")

_WHEEL: PackageType = "bdist_wheel"
_BUILT_FOR = frozenset[PackageType | None]({"bdist_dumb", "bdist_wininst", "bdist_msi", "bdist_dmg"})
"""Kinds whose names have the platform behind the version: "a-1.0.win32-py2.7.exe"."""


class Release(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A version as names of files spell it: one object on a page, however many files have it.

    `version` is None where PEP 440 cannot read what stands there; `spelled` is None where nothing does.
    """

    spelled: str | None
    version: Version | None

    def __str__(self) -> str:
        return self.spelled or "what its name says"


@dataclass(frozen=True, slots=True)
class Seen:
    """Columns of equal length, by a file's position; and the distinct releases, in the order of their first files.

    `tags` is what follows the version in a wheel's name of the usual form, else None; `uploaded` None: nobody tells.
    """

    files: Sequence[File]
    kinds: Sequence[PackageType | None]
    tags: Sequence[str | None]
    releases: Sequence[Release]
    uploaded: Sequence[datetime | None]
    distinct: Sequence[Release]

    def __len__(self) -> int:
        return len(self.files)

    def is_local(self, position: int) -> bool:
        return self.files[position].link.startswith(LOCAL)


def seen(project: ProjectName, files: Sequence[File]) -> Seen:
    """The files as rules look at them. Each version is read once, however many files have it."""
    spelled, tags = split_names(files, project)
    kinds = [
        _WHEEL if tag is not None else _kind(file.filename, spelling)
        for file, tag, spelling in zip(files, tags, spelled, strict=True)
    ]
    for position, kind in enumerate(kinds):
        if kind in _BUILT_FOR and (spelling := spelled[position]) is not None:
            # The version without the platform that stands behind it in such a name.
            spelled[position] = _PLATFORM.split(spelling, maxsplit=1)[0]
    releases = {spelling: Release(spelling, as_version(spelling)) for spelling in dict.fromkeys(spelled)}
    uploaded = as_moments([file.upload_time for file in files])
    return Seen(files, kinds, tags, [releases[spelling] for spelling in spelled], uploaded, tuple(releases.values()))


def _kind(filename: str, spelling: str | None) -> PackageType | None:
    """What kind of distribution it is by its name, built archives with an sdist's ending told apart.

    By what follows the project's name, where that is known: a project may be called for-linux.
    """
    kind = package_type(filename)
    return "bdist_dumb" if kind == "sdist" and _BUILT.search(filename if spelling is None else f"-{spelling}") else kind


def as_version(spelled: str | None) -> Version | None:
    """The version that stands in a file's name; None where it is none that PEP 440 can read."""
    if spelled is None:
        return None
    try:
        # A wheel's name has "_" where its version has "-" (PEP 427); to PEP 440 they are the same.
        return Version(spelled.replace("_", "-"))
    except InvalidVersion:
        return None
