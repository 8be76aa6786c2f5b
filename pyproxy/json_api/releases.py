"""The files of a project page by release, and which release is the one that the project is described by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from pyproxy.model import File, ProjectPage, version_of


@dataclass(frozen=True, slots=True)
class Release:
    """One version and its files, in the page's order. `version` is as the page spells it; `parsed` None: no version."""

    version: str
    parsed: Version | None
    files: tuple[File, ...]

    @property
    def is_yanked(self) -> bool:
        """PEP 592 yanks files: a release is when all of it is."""
        return all(file.yanked is not False for file in self.files)

    @property
    def yanked_reason(self) -> str | None:
        reasons = (file.yanked for file in self.files if isinstance(file.yanked, str) and file.yanked)
        return next(reasons, None) if self.is_yanked else None

    def is_named(self, version: str) -> bool:
        """Whether this is what the text names: equal by PEP 440, else spelled alike."""
        parsed = _parsed(version)
        return self.version == version if parsed is None else self.parsed == parsed


@dataclass(frozen=True, slots=True)
class Releases:
    """Oldest first; those that are no versions before all others."""

    all: Sequence[Release]

    @property
    def newest(self) -> Release | None:
        """What clients would take: the newest final one, a pre-release where there is no other, a yanked one last."""

        def rank(release: Release) -> tuple[bool, bool, bool]:
            parsed = release.parsed
            return (not release.is_yanked, parsed is not None, parsed is not None and not parsed.is_prerelease)

        best: Release | None = None
        for release in self.all:
            if best is None or rank(release) >= rank(best):
                best = release
        return best

    def named(self, version: str) -> Release | None:
        return next((release for release in self.all if release.is_named(version)), None)


def releases_of(page: ProjectPage) -> Releases:
    """The releases that the page shows: a quarantined project shows none (PEP 792)."""
    files = () if page.status == "quarantined" else page.files
    spelled = {parsed: text for text in page.versions or () if (parsed := _parsed(text)) is not None}
    groups: dict[Version | str, list[File]] = {}
    keys: dict[str, Version | str] = {}
    for file in files:
        text = version_of(file.filename, page.name) or ""
        key = keys.get(text)
        if key is None:
            # A wheel's name has "_" where its version has "-" (PEP 427); to PEP 440 they are the same.
            key = keys[text] = _parsed(text.replace("_", "-")) or text
        groups.setdefault(key, []).append(file)
    found = [
        Release(spelled.get(key, str(key)), key, tuple(group))
        if isinstance(key, Version)
        else Release(key, None, tuple(group))
        for key, group in groups.items()
        if key != ""
    ]
    return Releases(sorted(found, key=_order))


def _order(release: Release) -> tuple[bool, Version, str]:
    return (release.parsed is not None, release.parsed or Version("0"), release.version)


def _parsed(version: str) -> Version | None:
    try:
        return Version(version)
    except InvalidVersion:
        return None
