"""Rules over names and the versions that requirement specifiers name: `includes`, `excludes`, `block`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from pyproxy.config import FilterConfig
from pyproxy.filters.protocol import ByRelease, Judge, Refused, Rule
from pyproxy.filters.seen import Release, Seen
from pyproxy.model import ProjectName
from pyproxy.selection import Selector, Selectors, Sieve

_Places: TypeAlias = Mapping[Selector | str | None, str | None]
"""FILE:LINE by entry or digest."""


def rules(config: FilterConfig) -> Iterator[Rule]:
    if config.blocked:
        selectors = Selectors(it.selector for it in config.blocked if it.selector is not None)
        # Of two entries that say the same, the first is the one to point at.
        places: _Places = {it.selector or it.digest: it.place for it in reversed(config.blocked)}
        yield Block(selectors, frozenset(it.digest for it in config.blocked if it.digest is not None), places)
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

    def refuses(self, project: ProjectName) -> Refused | None:
        return None if self.selectors.of(project) else Refused(self.key, f"does not name {project}")

    def of(self, project: ProjectName) -> Sequence[Judge]:
        ranged = [it for it in self.selectors.of(project) if it.versions is not None]
        if not ranged:
            return ()
        named = ", ".join(map(str, ranged))

        def decide(releases: Sequence[Release]) -> Mapping[Release, Refused]:
            versions = [release.version for release in releases]
            of_each = zip(*(it.has_each(versions) for it in ranged), strict=True)
            return {
                release: Refused(self.key, f"does not name {release}, but {named}")
                for release, has in zip(releases, of_each, strict=True)
                if not any(has)
            }

        return (ByRelease(decide),)


@dataclass(frozen=True, slots=True)
class Excludes:
    """A bare entry drops the project, a ranged one the versions that it names."""

    selectors: Selectors

    key: ClassVar = "excludes"

    def refuses(self, project: ProjectName) -> Refused | None:
        return _bare(self.selectors.of(project), self._named)

    def of(self, project: ProjectName) -> Sequence[Judge]:
        return _all_but(self.selectors.of(project), self._named)

    def _named(self, selector: Selector, more: str = "") -> Refused:
        return Refused(self.key, f"names {selector}{more}")


@dataclass(frozen=True, slots=True)
class Block:
    """Never to be offered: projects, versions, and files by their SHA-256. `places` are the lines of those in files."""

    selectors: Selectors
    digests: frozenset[str]
    places: _Places

    key: ClassVar = "block"

    def refuses(self, project: ProjectName) -> Refused | None:
        return _bare(self.selectors.of(project), self._named)

    def of(self, project: ProjectName) -> Sequence[Judge]:
        by_name = _all_but(self.selectors.of(project), self._named)
        return (self._by_digest, *by_name) if self.digests else by_name

    def _by_digest(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        del now
        digests = [page.files[at].hashes.get("sha256") for at in positions]
        blocked = self.digests
        return {
            at: self._of_digest(digest)
            for at, digest in zip(positions, digests, strict=True)
            if digest in blocked or digest is None
        }

    def _of_digest(self, digest: str | None) -> Refused:
        if digest is None:
            return Refused(self.key, "names files by sha256, and its page tells none of this one")
        return Refused(self.key, f"names sha256:{digest}", place=self.places.get(digest))

    def _named(self, selector: Selector, more: str = "") -> Refused:
        return Refused(self.key, f"names {selector}{more}", place=self.places.get(selector))


_Named: TypeAlias = Callable[[Selector, str], Refused]
"""What is refused because this entry names it; the text is what else there is to say."""


def _bare(selectors: Sequence[Selector], named: _Named) -> Refused | None:
    """The first that names the whole project."""
    return next((named(it, "") for it in selectors if it.versions is None), None)


def _all_but(selectors: Sequence[Selector], named: _Named) -> Sequence[Judge]:
    """Hides the versions that these name, and those that nobody can compare with them."""
    if not selectors:
        return ()

    def decide(releases: Sequence[Release]) -> Mapping[Release, Refused]:
        versions = [release.version for release in releases]
        hides: dict[Release, Refused] = {}
        for selector in selectors:
            for release, has in zip(releases, selector.has_each(versions), strict=True):
                if has is not False and release not in hides:
                    hides[release] = named(selector, "" if has else f", and {release} cannot be compared with that")
        return hides

    return (ByRelease(decide),)
