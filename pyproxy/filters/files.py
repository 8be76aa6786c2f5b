"""Rules over files as such: `package_types`, `exclude_platforms`, `require_provenance`, `max_file_size`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

from pyproxy.config import FilterConfig
from pyproxy.filters.protocol import Hidden, Judge, Rule
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


def rules(config: FilterConfig) -> Iterator[Rule]:
    if config.package_types:
        yield PackageTypes(frozenset(config.package_types))
    if config.exclude_platforms:
        yield ExcludePlatforms(frozenset(config.exclude_platforms))
    if config.require_provenance:
        yield RequireProvenance()
    if config.max_file_size is not None:
        yield MaxFileSize(config.max_file_size)


class _OfFiles:
    """What the rules here have in common: names decide nothing."""

    __slots__ = ()

    def refuses(self, project: ProjectName) -> None:
        del project

    def of(self, project: ProjectName) -> Judge:
        del project
        return self.judge

    def judge(self, file: Seen, now: float) -> Hidden | None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class PackageTypes(_OfFiles):
    """A closed list of kinds of distributions."""

    kinds: frozenset[str]
    key: ClassVar = "package_types"

    def judge(self, file: Seen, now: float) -> Hidden | None:
        del now
        if file.kind in self.kinds:
            return None
        return Hidden(f"package_types does not name {file.kind or 'what this is'}")


@dataclass(frozen=True, slots=True)
class ExcludePlatforms(_OfFiles):
    """Files that are of use on the excluded platforms alone."""

    platforms: frozenset[str]
    key: ClassVar = "exclude_platforms"

    def judge(self, file: Seen, now: float) -> Hidden | None:
        del now
        only = platforms_of(file)
        return Hidden(f"exclude_platforms names {', '.join(sorted(only))}") if only and only <= self.platforms else None


@dataclass(frozen=True, slots=True)
class RequireProvenance(_OfFiles):
    """Only files with attestations."""

    key: ClassVar = "require_provenance"

    def judge(self, file: Seen, now: float) -> Hidden | None:
        del now
        return None if file.file.provenance is not None else Hidden("require_provenance: it has no attestations")


@dataclass(frozen=True, slots=True)
class MaxFileSize(_OfFiles):
    """Only files that are known to be no larger."""

    limit: int
    key: ClassVar = "max_file_size"

    def judge(self, file: Seen, now: float) -> Hidden | None:
        del now
        size = file.file.size
        if size is None:
            return Hidden("max_file_size: nobody tells how large it is")
        return Hidden(partial(_too_large, size)) if size > self.limit else None


def _too_large(size: int) -> str:
    return f"max_file_size: it has {as_size(size)}"


def platforms_of(file: Seen) -> frozenset[str]:
    """The platforms that its name limits it to, by the names that exclude_platforms has; none where it does not."""
    if file.kind in _BY_KIND:
        return frozenset([_BY_KIND[file.kind]])
    if file.kind == "sdist" or file.kind is None:
        return frozenset()
    name = file.file.filename
    if file.kind == "bdist_wheel":
        return _of_tags(name.rpartition("-")[2])
    rest = name[len(file.spelled or "") :].lower()
    return frozenset(platform for platform, tags in _TAGS if any(tag in rest for tag in tags))


@lru_cache(maxsize=1000)
def _of_tags(ending: str) -> frozenset[str]:
    """The platforms of a wheel's last tag, which may be several (PEP 425). Pages repeat them by the thousand."""
    return frozenset(map(_platform, ending.lower().removesuffix(".whl").split(".")))


def _platform(tag: str) -> str:
    """The platform of one tag; the tag itself, which nothing excludes, where it is of none of these."""
    return next((platform for platform, starts in _TAGS if tag.startswith(starts)), tag)
