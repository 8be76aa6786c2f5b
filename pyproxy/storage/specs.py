"""Which files a requirement selects: `name`, `name==1.0`, `name>=2`, pre-releases included. Decides; reads nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

from pyproxy.errors import BadName, BadRequirement
from pyproxy.model import ProjectName, as_project, printable


@dataclass(frozen=True, slots=True)
class Spec:
    """A requirement: the project it names and the versions it admits."""

    text: str
    project: ProjectName
    versions: SpecifierSet

    def admits(self, version: str) -> bool:
        """Whether it selects files of this version. One that PEP 440 cannot read is selected by the bare name alone."""
        if not len(self.versions):
            return True
        try:
            # A person who names versions means those, so pre-releases need no leave of their own.
            return self.versions.contains(version, prereleases=True)
        except InvalidVersion:
            return False


def as_specs(texts: Iterable[str]) -> tuple[Spec, ...]:
    """Raises BadRequirement for what is none, or says more than which versions; and for none at all."""
    specs = tuple(map(_as_spec, texts))
    if not specs:
        raise BadRequirement("no requirement was given")
    return specs


def _as_spec(text: str) -> Spec:
    try:
        found = Requirement(text)
        project = as_project(found.name)
    except (InvalidRequirement, BadName):
        raise BadRequirement(f"not a requirement: {printable(text)}") from None
    if found.url is not None or found.extras or found.marker is not None:
        raise BadRequirement(f"only a name and its versions select files: {printable(text)}")
    return Spec(text.strip(), project, found.specifier)
