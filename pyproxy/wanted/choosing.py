"""Which files of a page answer an ask: those of the newest release that fits, or those that its hashes name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pyproxy.errors import BadName
from pyproxy.model import File, ProjectName, ProjectPage, as_project, version_of
from pyproxy.wanted.markers import Python, may_hold, runs_on
from pyproxy.wanted.values import Ask, Named


@dataclass(frozen=True, slots=True)
class Release:
    """The files of one version."""

    version: Version
    files: tuple[File, ...]


def releases(page: ProjectPage) -> list[Release]:
    """Newest first. Files whose version PEP 440 cannot read are of none."""
    found: dict[Version, list[File]] = {}
    for file in page.files:
        version = _version(file, page.name)
        if version is not None:
            found.setdefault(version, []).append(file)
    return [Release(version, tuple(found[version])) for version in sorted(found, reverse=True)]


def chosen(page: ProjectPage, ask: Ask, python: Python = None) -> Release | None:
    """What is wanted of this page by this Python; None where nothing on it fits."""
    fitting = [_offered(release, ask, python) for release in releases(page)]
    there = {release.version: release for release in fitting if release.files}
    # Pre-releases only where the specifier names one, or nothing else fits: as pip chooses.
    admitted = sorted(ask.versions.filter(there), reverse=True)
    if not ask.hashes:
        return there[admitted[0]] if admitted else None
    for version in admitted:
        named = tuple(file for file in there[version].files if _hashes(file) & ask.hashes)
        if named:
            return Release(version, named)
    return None


def fits(release: Release, ask: Ask) -> bool:
    return ask.versions.contains(release.version, prereleases=True)


def named_on(page: ProjectPage, named: Named) -> File | str:
    """The file that a lock file names, or why it is not this page's."""
    for file in page.files:
        if file.filename == named.filename:
            known = {name: digest.lower() for name, digest in file.hashes.items()}
            common = known.keys() & named.hashes.keys()
            if all(known[name] == named.hashes[name] for name in common):
                return file
            return "here it has another digest than the lock file gives"
    return "the project's page does not have it"


def dependencies(requires: Iterable[str], ask: Ask, version: Version, python: Python = None) -> list[Ask]:
    """What a release wants beside it, with the extras that were asked for, on whatever machine."""
    found = []
    for text in requires:
        try:
            one = Requirement(text)
            project = as_project(one.name)
        except (InvalidRequirement, BadName):
            continue  # clients cannot read it either
        if one.url is None and may_hold(one.marker, ask.extras, python):
            extras = frozenset(canonicalize_name(extra) for extra in one.extras)
            found.append(Ask(project, one.specifier, extras, where=f"{ask.project} {version}"))
    return found


def _offered(release: Release, ask: Ask, python: Python) -> Release:
    """Its files that may be chosen: yanked ones (PEP 592) and those for other Pythons only where it is pinned."""
    if ask.is_pinned:
        return release
    right = (file for file in release.files if file.yanked is False and runs_on(file.requires_python, python))
    return Release(release.version, tuple(right))


def _hashes(file: File) -> set[str]:
    return {f"{algorithm}:{digest.lower()}" for algorithm, digest in file.hashes.items()}


def _version(file: File, project: ProjectName) -> Version | None:
    text = version_of(file.filename, project)
    try:
        return Version(text.replace("_", "-")) if text else None
    except InvalidVersion:
        return None
