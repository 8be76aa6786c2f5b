"""Rules over files as such: `package_types`, `exclude_platforms`, `require_provenance`, `max_file_size`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from pyproxy.config import FilterConfig
from pyproxy.filters.protocol import Judge, Refused, Rule, by_value
from pyproxy.filters.seen import Seen
from pyproxy.model import PackageType, ProjectName
from pyproxy.units import as_size

_BY_KIND: dict[PackageType, str] = {
    "bdist_wininst": "windows",
    "bdist_msi": "windows",
    "bdist_dmg": "macos",
    "bdist_rpm": "linux",
}
_TAGS = (
    ("windows", ("win32", "win_", "win-")),
    ("macos", ("macosx",)),
    ("freebsd", ("freebsd",)),
    ("linux", ("linux", "manylinux", "musllinux")),
)

_NONE = frozenset[str]()


def rules(config: FilterConfig) -> Iterator[Rule]:
    if config.package_types:
        yield PackageTypes(frozenset(config.package_types))
    if config.exclude_platforms:
        yield ExcludePlatforms(frozenset(config.exclude_platforms))
    if config.require_provenance:
        yield RequireProvenance()
    if config.max_file_size is not None:
        yield MaxFileSize(config.max_file_size)


@dataclass(frozen=True, slots=True)
class _OfFiles:
    """What the rules here have in common: names decide nothing."""

    def refuses(self, project: ProjectName) -> None:
        del project

    def of(self, project: ProjectName) -> Sequence[Judge]:
        del project
        return (self.judge,)

    def judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class PackageTypes(_OfFiles):
    """A closed list of kinds of distributions."""

    kinds: frozenset[str]
    key: ClassVar = "package_types"

    def judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        del now
        return by_value(positions, [page.kinds[at] for at in positions], self._others)

    def _others(self, kinds: Sequence[PackageType | None]) -> Mapping[PackageType | None, Refused]:
        named = self.kinds
        return {it: Refused(self.key, f"does not name {it or 'what this is'}") for it in kinds if it not in named}


@dataclass(frozen=True, slots=True)
class ExcludePlatforms(_OfFiles):
    """Files that are of use on the excluded platforms alone."""

    platforms: frozenset[str]
    key: ClassVar = "exclude_platforms"

    def judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        del now
        tags = page.tags
        told = [tag if (tag := tags[at]) is not None else _told(page, at) for at in positions]
        return by_value(positions, told, self._excluded)

    def _excluded(self, told: Sequence[str | frozenset[str]]) -> Mapping[str | frozenset[str], Refused]:
        only = {it: _of_tags(it) if isinstance(it, str) else it for it in told}
        return {
            it: Refused(self.key, f"names {', '.join(sorted(platforms))}")
            for it, platforms in only.items()
            if platforms and platforms <= self.platforms
        }


@dataclass(frozen=True, slots=True)
class RequireProvenance(_OfFiles):
    """Only files with attestations."""

    key: ClassVar = "require_provenance"

    def judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        del now
        hidden = Refused(self.key, "true: it has no attestations")
        return {at: hidden for at in positions if page.files[at].provenance is None}


@dataclass(frozen=True, slots=True)
class MaxFileSize(_OfFiles):
    """Only files that are known to be no larger."""

    limit: int
    key: ClassVar = "max_file_size"

    def judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        del now
        files, limit = page.files, self.limit
        refused = [at for at in positions if (size := files[at].size) is None or size > limit]
        return {at: Refused(self.key, partial(_too_large, files[at].size, limit)) for at in refused}


def _too_large(size: int | None, limit: int) -> str:
    return f"{as_size(limit)}: {'nobody tells how large it is' if size is None else f'it has {as_size(size)}'}"


def _told(page: Seen, position: int) -> str | frozenset[str]:
    """What tells to which platforms a file's name limits it: tags, or the platforms themselves; none: it does not."""
    kind, name = page.kinds[position], page.files[position].filename
    if kind == "bdist_wheel":
        return name
    if kind == "sdist" or kind is None:
        return _NONE
    if kind in _BY_KIND:
        return frozenset([_BY_KIND[kind]])
    # What stands behind the version: a project may be called for-linux.
    spelled = page.releases[position].spelled
    rest = name.lower() if spelled is None else name.lower().partition(f"-{spelled.lower()}")[2]
    return frozenset(platform for platform, tags in _TAGS if any(tag in rest for tag in tags))


def _of_tags(tags: str) -> frozenset[str]:
    """The platforms of a wheel's last tag, which may be several (PEP 425)."""
    return frozenset(map(_platform, tags.rpartition("-")[2].lower().removesuffix(".whl").split(".")))


def _platform(tag: str) -> str:
    """The platform of one tag; the tag itself, which nothing excludes, where it is of none of these."""
    return next((platform for platform, starts in _TAGS if tag.startswith(starts)), tag)
