"""Rules over names and the versions that requirement specifiers name: `includes`, `excludes`, `block`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pyproxy.config import FilterConfig
from pyproxy.filters.protocol import ByRelease, Judge, Refused, Rule
from pyproxy.filters.seen import Release, Seen
from pyproxy.model import ProjectName
from pyproxy.selection import Selector, Selectors, Sieve


def rules(config: FilterConfig) -> Iterator[Rule]:
    if config.blocked:
        blocked = Selectors(it.selector for it in config.blocked if it.selector is not None)
        yield Block(blocked, frozenset(it.digest for it in config.blocked if it.digest is not None))
    if config.excludes:
        yield Excludes(Selectors(config.excludes))
    if config.includes:
        yield Includes(Selectors(config.includes))


def sieve(config: FilterConfig) -> Sieve | None:
    """What these rules refuse by name, for long lists of names; None where they refuse none."""
    refused = [*config.excludes, *(it.selector for it in config.blocked if it.selector is not None)]
    excludes = tuple(it.names for it in refused if it.versions is None)
    includes = tuple(it.names for it in config.includes) or None
    return Sieve(includes, excludes) if includes or excludes else None


@dataclass(frozen=True, slots=True)
class Includes:
    """A closed list of names. Several ranges of one name are or-ed; beside a bare entry they limit all the same."""

    selectors: Selectors

    key: ClassVar = "includes"

    def refuses(self, project: ProjectName) -> str | None:
        if self.selectors.of(project):
            return None
        return f"does not name {project}"

    def of(self, project: ProjectName) -> Sequence[Judge]:
        ranged = [it for it in self.selectors.of(project) if it.versions is not None]
        if not ranged:
            return ()
        instead = f"names {', '.join(map(str, ranged))}"

        def decide(releases: Sequence[Release]) -> Mapping[Release, Refused]:
            named = zip(*(it.has_each([release.version for release in releases]) for it in ranged), strict=True)
            return {
                release: Refused(self.key, f"{instead}, which {release} is not")
                for release, has in zip(releases, named, strict=True)
                if not any(has)
            }

        return (ByRelease(decide),)


@dataclass(frozen=True, slots=True)
class Excludes:
    """A bare entry drops the project, a ranged one the versions that it names."""

    selectors: Selectors

    key: ClassVar = "excludes"

    def refuses(self, project: ProjectName) -> str | None:
        bare = (it for it in self.selectors.of(project) if it.versions is None)
        return next((f"names {it}" for it in bare), None)

    def of(self, project: ProjectName) -> Sequence[Judge]:
        return _all_but(self.selectors.of(project), "excludes")


@dataclass(frozen=True, slots=True)
class Block:
    """Never to be offered: projects, versions, and files by their SHA-256."""

    selectors: Selectors
    digests: frozenset[str]

    key: ClassVar = "block"

    def refuses(self, project: ProjectName) -> str | None:
        bare = (it for it in self.selectors.of(project) if it.versions is None)
        return next((f"names {it}" for it in bare), None)

    def of(self, project: ProjectName) -> Sequence[Judge]:
        by_name = _all_but(self.selectors.of(project), "block")
        return (self._by_digest, *by_name) if self.digests else by_name

    def _by_digest(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        del now
        digests = [page.files[at].hashes.get("sha256") for at in positions]
        blocked = self.digests
        return {
            at: Refused(self.key, _blocked(digest))
            for at, digest in zip(positions, digests, strict=True)
            if digest in blocked or digest is None
        }


def _blocked(digest: str | None) -> str:
    return "names files by sha256, and its page tells none of this one" if digest is None else f"names sha256:{digest}"


def _all_but(selectors: tuple[Selector, ...], key: str) -> tuple[Judge, ...]:
    """Hides the versions that these name, and those that nobody can compare with them."""
    if not selectors:
        return ()

    def decide(releases: Sequence[Release]) -> Mapping[Release, Refused]:
        versions = [release.version for release in releases]
        hides: dict[Release, Refused] = {}
        for selector in selectors:
            for release, has in zip(releases, selector.has_each(versions), strict=True):
                if has is not False and release not in hides:
                    hides[release] = Refused(key, _named(selector, release, has=has))
        return hides

    return (ByRelease(decide),)


def _named(selector: Selector, release: Release, *, has: bool | None) -> str:
    return f"names {selector}" if has else f"names {selector}, and {release} cannot be compared with that"
