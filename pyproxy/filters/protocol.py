"""What a rule is: asked by name before any upstream call, and then about the files of a page, all at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import msgspec

from pyproxy.filters.seen import Release, Seen
from pyproxy.model import ProjectName

V = TypeVar("V", bound=Hashable)


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Why something is not offered: by which key, and from when on that may be otherwise (seconds since the epoch).

    `said` goes on from the key, for people: "names torch==2.0", "7d: it was uploaded at …". It is made only where
    somebody asks: of a page of thousands nobody reads them all.
    """

    key: str
    said: str | Callable[[], str]
    until: float = math.inf
    place: str | None = None
    """FILE:LINE of what says so, where that is not the configuration."""

    @property
    def words(self) -> str:
        return self.said if isinstance(self.said, str) else self.said()

    @property
    def reason(self) -> str:
        """The whole in one line."""
        return f"{self.key} {self.words}"


@dataclass(frozen=True, slots=True)
class ByRelease:
    """Judges what looks at nothing of a file but its release: a page of thousands of files has hundreds."""

    decide: Callable[[Sequence[Release]], Mapping[Release, Refused]]
    """Which of these releases are hidden, and why."""


ByFile: TypeAlias = Callable[[Seen, float, Sequence[int]], Mapping[int, Refused]]
"""Which files of a page are hidden at an instant, of those at these positions, and why."""

Judge: TypeAlias = ByRelease | ByFile
"""What it does not hide passes. What it says of one does not depend on which others it is asked about."""


class Rule(Protocol):
    """One key of the configuration. Pure: the same answer for the same files and instant.

    Whatever it raises hides what it was asked about. Where it was asked about many, it is asked again one by one.
    """

    @property
    def key(self) -> str:
        """The key, as the file has it: what metrics and explanations call the rule."""

    def refuses(self, project: ProjectName) -> Refused | None:
        """Why nothing of a project with this name is offered; None: its name alone decides nothing."""

    def of(self, project: ProjectName) -> Sequence[Judge]:
        """Who judges this project's files, one after the other; nobody: all of them pass."""


def by_value(
    positions: Sequence[int], values: Sequence[V], decide: Callable[[Sequence[V]], Mapping[V, Refused]]
) -> Mapping[int, Refused]:
    """Which of the positions are hidden, decided for all the values that they have, each once."""
    hides = decide(tuple(dict.fromkeys(values)))
    if not hides:
        return {}
    return {at: hides[value] for at, value in zip(positions, values, strict=True) if value in hides}
