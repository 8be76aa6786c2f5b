"""Rules over upload times: `min_age` and `exclude_newer`, what passes them (`exempt`), and what tells none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar

from packaging.version import Version

from pyproxy.config import FilterConfig
from pyproxy.filters.protocol import Hidden, Judge, Rule
from pyproxy.filters.seen import Seen
from pyproxy.instants import show_instant
from pyproxy.model import ProjectName
from pyproxy.selection import Selectors
from pyproxy.units import as_duration


def rules(config: FilterConfig) -> Iterator[Rule]:
    exempt = Selectors(config.exempt)
    of_local = config.exclude_newer is not None
    if config.unknown_age == "hide" and config.needs_upload_times:
        asked_by = [key for key, asks in (("min_age", config.min_age > 0), ("exclude_newer", of_local)) if asks]
        yield UnknownAge(exempt, " and ".join(asked_by), of_local=of_local)
    if config.exclude_newer is not None:
        yield ExcludeNewer(exempt, config.exclude_newer)
    if config.min_age > 0:
        yield MinAge(exempt, config.min_age)


@dataclass(frozen=True, slots=True)
class _OfAge:
    """What the rules here have in common: the entries of `exempt` pass them."""

    exempt: Selectors

    def refuses(self, project: ProjectName) -> None:
        del project

    def of(self, project: ProjectName) -> Judge | None:
        exempt = self.exempt.of(project)
        if any(it.versions is None for it in exempt):
            return None
        if not exempt:
            return self.judge

        @cache
        def passes(version: Version | None) -> bool:
            # `has` is None where nobody can tell: what may be another version than the one let through is not.
            return any(it.has(version) for it in exempt)

        def judge(file: Seen, now: float) -> Hidden | None:
            hidden = self.judge(file, now)
            return None if hidden is None or passes(file.version) else hidden

        return judge

    def judge(self, file: Seen, now: float) -> Hidden | None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class UnknownAge(_OfAge):
    """`unknown_age: hide`: a file whose upload time nobody tells may be of today."""

    key: ClassVar = "unknown_age"
    asked_by: str
    of_local: bool

    def judge(self, file: Seen, now: float) -> Hidden | None:
        del now
        if file.uploaded is not None or (file.is_local and not self.of_local):
            return None
        return Hidden(f"unknown_age: nobody tells when it was uploaded, which {self.asked_by} must know")


@dataclass(frozen=True, slots=True)
class ExcludeNewer(_OfAge):
    """As it stood at an instant (seconds since the epoch): what was uploaded after it is not there."""

    key: ClassVar = "exclude_newer"
    instant: float

    def judge(self, file: Seen, now: float) -> Hidden | None:
        del now
        if file.uploaded is None or file.uploaded <= self.instant:
            return None
        return Hidden(partial(_newer, file.uploaded))


@dataclass(frozen=True, slots=True)
class MinAge(_OfAge):
    """The cool-down, in seconds. What is local was put here by its owner, and is shown as soon as it is."""

    key: ClassVar = "min_age"
    seconds: float

    def judge(self, file: Seen, now: float) -> Hidden | None:
        if file.uploaded is None or file.is_local:
            return None
        of_age = file.uploaded + self.seconds
        if of_age <= now:
            return None
        return Hidden(partial(_too_young, file.uploaded, self.seconds), until=of_age)


def _newer(uploaded: float) -> str:
    return f"exclude_newer: it was uploaded at {_shown(uploaded)}"


def _too_young(uploaded: float, min_age: float) -> str:
    said = f"min_age {as_duration(min_age)}: it was uploaded at {_shown(uploaded)}"
    return f"{said} and is offered from {_shown(uploaded + min_age)}"


def _shown(instant: float) -> str:
    try:
        return show_instant(instant)
    except (ValueError, OverflowError):  # a remote may tell the last day of all calendars, and a cool-down ends later
        return "a time that no calendar has"
