"""All rules of one remote or distribution together: which files of a page are left, why the others are not, until when.

A rule that raises hides what it was asked about: what cannot be decided is answered with no.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TypeVar

from pyproxy.config import FilterConfig
from pyproxy.filters import age, files, names, versions
from pyproxy.filters.protocol import ByRelease, Refused, Rule
from pyproxy.filters.seen import Release, Seen
from pyproxy.filters.versions import KeepLatest
from pyproxy.model import ProjectName
from pyproxy.selection import Sieve

V = TypeVar("V")

log = logging.getLogger(__name__)

FAMILIES: tuple[Callable[[FilterConfig], Iterator[Rule]], ...] = (names.rules, versions.rules, files.rules, age.rules)
"""In the order they are asked: the first rule that hides a file is the reason given.

Age comes last, so that a file is said to come of age only where nothing else hides it.
"""

UNDECIDED = "could not be decided, so that nothing is offered; the log says more"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What becomes of a page's files, by their position; None: shown. Holds until `until` (seconds, epoch).

    `counts` says how many files each key hides.
    """

    of: tuple[Refused | None, ...]
    until: float
    counts: Mapping[str, int]

    @property
    def hidden(self) -> Iterator[Refused]:
        return (it for it in self.of if it is not None)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules, in their order. `latest` is counted last, over what they left.

    `sieve` lets those names through that no rule refuses; None: every name.
    """

    rules: tuple[Rule, ...]
    latest: KeepLatest | None = None
    sieve: Sieve | None = None

    @property
    def looks_at_pages(self) -> bool:
        """Whether the verdict on a file needs those on the others of its page."""
        return self.latest is not None

    def refuses(self, project: ProjectName) -> Refused | None:
        """Which rule keeps the whole project back, by its name alone; None where that decides nothing."""
        for rule in self.rules:
            try:
                refused = rule.refuses(project)
            except Exception:
                log.exception("filter %s failed over the name of %s", rule.key, project)
                return Refused(rule.key, UNDECIDED)
            if refused is not None:
                return refused
        return None

    def verdicts(self, project: ProjectName, page: Seen, now: float) -> Verdicts:
        """What becomes of these files of one project."""
        court = _Court(project, page, now)
        for rule in self.rules:
            court.ask(rule)
        if self.latest is not None:
            court.count_last(self.latest)
        return court.verdicts()


def policy_of(config: FilterConfig) -> Policy:
    """The rules that these keys stand for; none for their defaults."""
    latest = KeepLatest(config.keep_latest_packages) if config.keep_latest_packages else None
    return Policy(tuple(rule for family in FAMILIES for rule in family(config)), latest, names.sieve(config))


class _Court:
    """One page on its way through the rules, in their order: each is asked about what those before it have left."""

    def __init__(self, project: ProjectName, page: Seen, now: float) -> None:
        self._project = project
        self._page = page
        self._now = now
        self._found: list[Refused | None] = [None] * len(page)
        self._left: Sequence[int] = range(len(page))
        self._releases: Sequence[Release] = page.distinct
        self._hidden: dict[Release, Refused] = {}
        """Releases that are hidden, while their files are still among those left: until a rule looks at files."""
        self._failures: dict[str, Exception] = {}

    def ask(self, rule: Rule) -> None:
        try:
            judges = rule.of(self._project)
        except Exception as exc:  # noqa: BLE001 - whatever it is, nothing is shown; told once
            self._failures[rule.key] = exc
            self._hide(dict.fromkeys(self._files(), Refused(rule.key, UNDECIDED)))
            return
        for judge in judges:
            if isinstance(judge, ByRelease):
                self._hidden |= self._asked(rule.key, judge.decide, self._releases)
                self._releases = [release for release in self._releases if release not in self._hidden]
            else:
                self._hide(self._asked(rule.key, partial(judge, self._page, self._now), self._files()))

    def count_last(self, latest: KeepLatest) -> None:
        left = self._files()
        try:
            self._hide(latest.hides(self._page, left))
        except Exception as exc:  # noqa: BLE001 - as above
            self._failures[latest.key] = exc
            self._hide(dict.fromkeys(left, Refused(latest.key, UNDECIDED)))

    def verdicts(self) -> Verdicts:
        self._files()
        hidden = [*filter(None, self._found)]
        if not hidden:
            return Verdicts(tuple(self._found), math.inf, {})
        counts = Counter(map(attrgetter("key"), hidden))
        self._tell()
        return Verdicts(tuple(self._found), min(map(attrgetter("until"), hidden), default=math.inf), counts)

    def _asked(
        self, key: str, judge: Callable[[Sequence[V]], Mapping[V, Refused]], asked: Sequence[V]
    ) -> Mapping[V, Refused]:
        """What the judge says of all these; where it raises, of each by itself, so that it hides no others."""
        try:
            return judge(asked)
        except Exception as whole:
            hidden: dict[V, Refused] = {}
            for one in asked:
                try:
                    hidden.update(judge((one,)))
                except Exception as exc:  # noqa: BLE001 - as above
                    self._failures.setdefault(key, exc)
                    hidden[one] = Refused(key, UNDECIDED)
            if key not in self._failures:
                log.warning(
                    "filter %s failed over %s, but over none of its files alone", key, self._project, exc_info=whole
                )
            return hidden

    def _files(self) -> Sequence[int]:
        """The positions of the files that are left."""
        if hidden := self._hidden:
            column, self._hidden = self._page.releases, {}
            self._hide({at: hidden[column[at]] for at in self._left if column[at] in hidden})
        return self._left

    def _hide(self, hidden: Mapping[int, Refused]) -> None:
        if not hidden:
            return
        for at, why in hidden.items():
            self._found[at] = why
        self._left = [at for at in self._left if at not in hidden]

    def _tell(self) -> None:
        """A line in the log for each rule that raised, however many files it failed over."""
        pairs = zip(self._page.files, self._found, strict=True)
        failed = (
            [(file, it.key) for file, it in pairs if it is not None and it.said is UNDECIDED] if self._failures else []
        )
        for rule, exc in self._failures.items():
            names = [file.filename for file, key in failed if key == rule]
            if names:  # else it was about releases of which no file was left
                log.error(
                    "filter %s failed over %d files of %s, which are hidden; the first is %s",
                    rule,
                    len(names),
                    self._project,
                    names[0],
                    exc_info=exc,
                )
