"""Rules over upload times: `min_age` and `exclude_newer`, what passes them (`exempt`), and what tells none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from pyproxy.config import FilterConfig
from pyproxy.filters.protocol import Judge, Refused, Rule
from pyproxy.filters.seen import Release, Seen
from pyproxy.instants import shortly_before, show_instant
from pyproxy.model import ProjectName
from pyproxy.selection import Selector, Selectors
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

    def of(self, project: ProjectName) -> Sequence[Judge]:
        exempt = self.exempt.of(project)
        if any(it.versions is None for it in exempt):
            return ()
        return (self._but(exempt),) if exempt else (self.judge,)

    def _but(self, exempt: Sequence[Selector]) -> Judge:
        def passes(release: Release) -> bool:
            # `has` is None where nobody can tell: what may be another version than the one let through is not.
            return any(it.has(release.version) for it in exempt)

        def judge(page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
            hidden = self.judge(page, now, positions)
            let_through = {release for release in {page.releases[at] for at in hidden} if passes(release)}
            return {at: why for at, why in hidden.items() if page.releases[at] not in let_through}

        return judge

    def judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class UnknownAge(_OfAge):
    """`unknown_age: hide`: a file whose upload time nobody tells may be of today."""

    key: ClassVar = "unknown_age"
    asked_by: str
    of_local: bool

    def judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        del now
        unknown = [at for at in positions if page.uploaded[at] is None]
        said = f"hide: nobody tells when it was uploaded, which {self.asked_by} must know"
        return {at: Refused(self.key, said) for at in unknown if self.of_local or not page.is_local(at)}


@dataclass(frozen=True, slots=True)
class ExcludeNewer(_OfAge):
    """As it stood at an instant (seconds since the epoch): what was uploaded after it is not there."""

    key: ClassVar = "exclude_newer"
    instant: float

    def judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        del now
        return {
            at: Refused(self.key, partial(_newer, uploaded, self.instant))
            for at, uploaded in _after(page, positions, self.instant)
            if uploaded > self.instant
        }


@dataclass(frozen=True, slots=True)
class MinAge(_OfAge):
    """The cool-down, in seconds. What is local was put here by its owner, and is shown as soon as it is."""

    key: ClassVar = "min_age"
    seconds: float

    def judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        return {
            at: Refused(self.key, partial(_too_young, uploaded, self.seconds), until=uploaded + self.seconds)
            for at, uploaded in _after(page, positions, now - self.seconds)
            if uploaded + self.seconds > now and not page.is_local(at)
        }


def _after(page: Seen, positions: Sequence[int], instant: float) -> Iterator[tuple[int, float]]:
    """Those uploaded after the instant or at most a second before, and when. Few are, so few times become numbers."""
    times, before = page.uploaded, shortly_before(instant)
    near = [at for at in positions if (time := times[at]) is not None and time >= before]
    return ((at, time.timestamp()) for at in near if (time := times[at]) is not None)


def _newer(uploaded: float, instant: float) -> str:
    return f"{_shown(instant)}: it was uploaded at {_shown(uploaded)}"


def _too_young(uploaded: float, min_age: float) -> str:
    said = f"{as_duration(min_age)}: it was uploaded at {_shown(uploaded)}"
    return f"{said} and is offered from {_shown(uploaded + min_age)}"


def _shown(instant: float) -> str:
    try:
        return show_instant(instant)
    except (ValueError, OverflowError):  # a remote may tell the last day of all calendars, and a cool-down ends later
        return "a time that no calendar has"
