"""What a rule is: asked by name before any upstream call, and then about each file."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from pyproxy.filters.seen import Seen
from pyproxy.model import ProjectName


class Hidden(msgspec.Struct, frozen=True, gc=False):
    """Why a file is not offered, and from when on that may be otherwise (seconds since the epoch).

    `words` are for people, and made only where somebody asks: of a page of thousands nobody reads them all.
    """

    words: str | Callable[[], str]
    until: float = math.inf

    @property
    def reason(self) -> str:
        return self.words if isinstance(self.words, str) else self.words()


Judge: TypeAlias = Callable[[Seen, float], Hidden | None]
"""What a rule says of a file of one project at an instant; None: the file passes."""


def by_version(decide: Judge) -> Judge:
    """The same, asked once for each version: for what looks at nothing else of a file."""
    known: dict[str | None, Hidden | None] = {}

    def judge(file: Seen, now: float) -> Hidden | None:
        try:
            return known[file.spelled]
        except KeyError:
            found = known[file.spelled] = decide(file, now)
            return found

    return judge


class Rule(Protocol):
    """One key of the configuration. Pure: the same answer for the same file and instant.

    Whatever it raises hides the file it was asked about.
    """

    @property
    def key(self) -> str:
        """The key, as the file has it: what metrics and explanations call the rule."""

    def refuses(self, project: ProjectName) -> str | None:
        """Why nothing of a project with this name is offered; None: its name alone decides nothing."""

    def of(self, project: ProjectName) -> Judge | None:
        """Who judges this project's files; None: all of them pass."""
