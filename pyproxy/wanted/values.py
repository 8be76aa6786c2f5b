"""What somebody wants to be there, as requirement and lock files say it. Values; nothing here asks an index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from packaging.specifiers import SpecifierSet

from pyproxy.errors import PyproxyError
from pyproxy.model import Filename, ProjectName


class Unreadable(PyproxyError):
    """A file or a text that does not say what is wanted; `mistakes` holds one line each."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Ask:
    """A release of a project, to be chosen by its page. `hashes` (`sha256:…`) name its files, where there are any.

    `where` is `FILE:LINE`, or what asked for it. `alone`: what it depends on is not wanted.
    """

    project: ProjectName
    versions: SpecifierSet
    extras: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()
    where: str = ""
    alone: bool = False

    def __str__(self) -> str:
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        return f"{self.project}{extras}{self.versions}"

    @property
    def is_pinned(self) -> bool:
        """Whether it says itself which release it means: a yanked one is meant then (PEP 592)."""
        return any(
            one.operator == "===" or (one.operator == "==" and not one.version.endswith(".*")) for one in self.versions
        )


@dataclass(frozen=True, slots=True)
class Named:
    """One file, as a lock file names it. `index` is the URL of the index that it was locked from, where it tells."""

    project: ProjectName
    filename: Filename
    hashes: Mapping[str, str] = field(hash=False)
    index: str | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Wishes:
    """All that is wanted. `notes` say what was passed over, one line each.

    `constraints` narrow whatever is chosen of a project, also where something else depends on it.
    """

    asks: tuple[Ask, ...] = ()
    named: tuple[Named, ...] = ()
    notes: tuple[str, ...] = ()
    constraints: Mapping[ProjectName, SpecifierSet] = field(default_factory=dict, hash=False)

    def __add__(self, other: Wishes) -> Wishes:
        constraints = dict(self.constraints)
        for project, versions in other.constraints.items():
            constraints[project] = constraints.get(project, SpecifierSet()) & versions
        return Wishes(self.asks + other.asks, self.named + other.named, self.notes + other.notes, constraints)

    def constrained(self, ask: Ask) -> Ask:
        versions = self.constraints.get(ask.project)
        return ask if versions is None else replace(ask, versions=ask.versions & versions)
