"""Rules over names and the versions that requirement specifiers name: `includes`, `excludes`, `block`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pyproxy.config import FilterConfig
from pyproxy.filters.protocol import Hidden, Judge, Rule, by_version
from pyproxy.filters.seen import Seen
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
        return f"{project} is not among includes"

    def of(self, project: ProjectName) -> Judge | None:
        ranged = [it for it in self.selectors.of(project) if it.versions is not None]
        if not ranged:
            return None
        reason = f"no version that includes names ({', '.join(map(str, ranged))})"

        def judge(file: Seen, now: float) -> Hidden | None:
            del now
            return None if any(it.has(file.version) for it in ranged) else Hidden(f"{_shown(file)} is {reason}")

        return by_version(judge)


@dataclass(frozen=True, slots=True)
class Excludes:
    """A bare entry drops the project, a ranged one the versions that it names."""

    selectors: Selectors

    key: ClassVar = "excludes"

    def refuses(self, project: ProjectName) -> str | None:
        bare = (it for it in self.selectors.of(project) if it.versions is None)
        return next((f"excludes names {it}" for it in bare), None)

    def of(self, project: ProjectName) -> Judge | None:
        return _all_but(self.selectors.of(project), "excludes")


@dataclass(frozen=True, slots=True)
class Block:
    """Never to be offered: projects, versions, and files by their SHA-256."""

    selectors: Selectors
    digests: frozenset[str]

    key: ClassVar = "block"

    def refuses(self, project: ProjectName) -> str | None:
        bare = (it for it in self.selectors.of(project) if it.versions is None)
        return next((f"block names {it}" for it in bare), None)

    def of(self, project: ProjectName) -> Judge | None:
        by_name = _all_but(self.selectors.of(project), "block")
        digests = self.digests
        if not digests:
            return by_name

        def judge(file: Seen, now: float) -> Hidden | None:
            digest = file.file.hashes.get("sha256")
            if digest is None:
                return Hidden("block names files by sha256, and its page tells none of this one")
            if digest in digests:
                return Hidden(f"block names sha256:{digest}")
            return by_name(file, now) if by_name is not None else None

        return judge


def _all_but(selectors: tuple[Selector, ...], key: str) -> Judge | None:
    """Hides the versions that these name, and those that nobody can compare with them."""
    if not selectors:
        return None

    def judge(file: Seen, now: float) -> Hidden | None:
        del now
        for selector in selectors:
            has = selector.has(file.version)
            if has is None:
                return Hidden(f"{key} names {selector}, and {_shown(file)} cannot be compared with that")
            if has:
                return Hidden(f"{key} names {selector}")
        return None

    return by_version(judge)


def _shown(file: Seen) -> str:
    return file.spelled or "what its name says"
